//! A certificate for servers of this machine, made by openssl.

use std::{
    io,
    path::{Path, PathBuf},
    process::Command,
};

/// A certificate that nobody but itself vouches for, and its key.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The certificate, in PEM.
    pub certificate: PathBuf,
    /// Its key, in PEM.
    pub key: PathBuf,
}

impl Certificate {
    /// Makes one for a name or an address of the loopback interface, as `DNS:localhost` or
    /// `IP:127.0.0.1`.
    ///
    /// # Errors
    /// When openssl is not installed or refuses.
    pub fn make(dir: &Path, name: &str) -> io::Result<Self> {
        let made = Self { certificate: dir.join("cert.pem"), key: dir.join("key.pem") };
        let output = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"])
            .args(["-subj", "/CN=testkit", "-addext", &format!("subjectAltName={name}")])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .arg("-keyout")
            .arg(&made.key)
            .arg("-out")
            .arg(&made.certificate)
            .output()
            .map_err(|error| {
                let hint = format!("cannot start openssl: {error}; apt-get install openssl");
                io::Error::new(error.kind(), hint)
            })?;
        match output.status.success() {
            true => Ok(made),
            false => Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned())),
        }
    }
}
