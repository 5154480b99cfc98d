//! Where the resource is, and a connection to it.

use std::{fmt, io, path::PathBuf, pin::Pin, time::Duration};

use hyper::Uri;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};

/// Longest time for a connection to be made.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where the resource listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Upstream {
    /// A host with a port.
    Tcp(String),
    Unix(PathBuf),
}

/// Both directions.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> Stream for T {}

impl Upstream {
    /// `http://HOST[:PORT]` or `unix:PATH`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path.is_empty() {
                true => Err(String::from("unix: needs the path of a socket")),
                false => Ok(Self::Unix(PathBuf::from(path))),
            };
        }
        let wrong = || format!("{text:?} is not http://HOST:PORT or unix:PATH");
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => {
                return Err(format!(
                    "{text:?} is encrypted: put what ends the encryption between, the fence \
                     belongs beside the resource"
                ));
            }
            _ => return Err(wrong()),
        }
        let authority = uri.authority().ok_or_else(wrong)?;
        if authority.as_str().contains('@')
            || !matches!(uri.path(), "" | "/")
            || uri.query().is_some()
        {
            return Err(format!(
                "{text:?} has more than a host and a port: paths stay as they are"
            ));
        }
        Ok(Self::Tcp(format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80))))
    }

    /// For requests that name no host.
    pub(crate) fn host(&self) -> &str {
        match self {
            Self::Tcp(address) => address,
            Self::Unix(_) => "localhost",
        }
    }

    /// A new connection. One for each request: so that cutting it cuts that request and no
    /// other, and none is sent on a connection that the upstream is just giving up.
    pub(crate) async fn connect(&self) -> io::Result<Pin<Box<dyn Stream>>> {
        let connect = async {
            let stream: Pin<Box<dyn Stream>> = match self {
                Self::Tcp(address) => {
                    let stream = TcpStream::connect(address).await?;
                    stream.set_nodelay(true)?;
                    Box::pin(stream)
                }
                Self::Unix(path) => Box::pin(UnixStream::connect(path).await?),
            };
            Ok(stream)
        };
        match tokio::time::timeout(PATIENCE, connect).await {
            Ok(connected) => connected,
            Err(_) => {
                let why = format!("no connection within {} s", PATIENCE.as_secs());
                Err(io::Error::new(io::ErrorKind::TimedOut, why))
            }
        }
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "http://{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_is_a_host_or_a_socket() {
        for (text, expected) in [
            ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
            ("http://host/", "http://host:80"),
            ("http://[::1]:9000", "http://[::1]:9000"),
            ("unix:/run/x", "unix:/run/x"),
        ] {
            assert_eq!(Upstream::parse(text).unwrap().to_string(), expected);
        }
        for bad in
            ["", "h:1", "https://h", "ftp://h", "http://h/a", "http://u@h", "http://h/?a", "unix:"]
        {
            assert!(Upstream::parse(bad).is_err(), "{bad}");
        }
    }
}
