//! Encryption, with libpq's meaning of `sslmode`.

use std::sync::Arc;

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{self, CryptoProvider},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::address::{Address, Roots, Trust};

/// What a connection is encrypted with.
pub(crate) fn connector(address: &Address) -> Result<MakeRustlsConnect, String> {
    let provider = Arc::new(crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?;
    let config = match address.trust {
        Trust::Host => builder.with_root_certificates(roots(&address.roots)?),
        trust => {
            let issuers = match trust {
                Trust::Issuer => Some(issuers(&address.roots, &provider)?),
                _ => None,
            };
            let lenient = Lenient { issuers, provider };
            builder.dangerous().with_custom_certificate_verifier(Arc::new(lenient))
        }
    };
    Ok(MakeRustlsConnect::new(config.with_no_client_auth()))
}

fn roots(roots: &Roots) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    let (found, place) = match roots {
        Roots::System => {
            let found = rustls_native_certs::load_native_certs();
            (found.certs, String::from("this system's certificates"))
        }
        Roots::File(path) => {
            let place = format!("sslrootcert={}", path.display());
            let unreadable = |error| format!("{place} cannot be read: {error}");
            let found = CertificateDer::pem_file_iter(path).map_err(unreadable)?;
            (found.collect::<Result<Vec<_>, _>>().map_err(unreadable)?, place)
        }
    };
    let (taken, _) = store.add_parsable_certificates(found);
    match taken {
        0 => Err(format!("{place}: no certificate of an issuer is there, so none can be trusted")),
        _ => Ok(store),
    }
}

fn issuers(
    files: &Roots,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, String> {
    let store = Arc::new(roots(files)?);
    WebPkiServerVerifier::builder_with_provider(store, Arc::clone(provider))
        .build()
        .map_err(|error| format!("the certificates of issuers cannot be used: {error}"))
}

/// Less than rustls would check by itself: no host name, or nothing but that the server owns
/// the key it shows. This is what `require` and `verify-ca` mean everywhere else.
#[derive(Debug)]
struct Lenient {
    issuers: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(issuers) = &self.issuers else { return Ok(ServerCertVerified::assertion()) };
        let verdict =
            issuers.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verdict {
            // Names are the last thing that is looked at: everything else is right.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
