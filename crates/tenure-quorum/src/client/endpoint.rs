//! Where a quorum is reached.

use std::{fmt, path::PathBuf};

use super::ClientError;

/// Where one node is reached.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    /// `host:port`.
    Tcp(String),
    /// A socket file of a node on this machine.
    Unix(PathBuf),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

const TCP: &str = "tenure://";
const UNIX: &str = "tenure+unix://";

/// The endpoints that a URL names: `tenure://host:port,host:port` or
/// `tenure+unix:///path/to/node.sock`.
///
/// # Errors
/// [`ClientError::Url`] with what is wrong and an example.
pub fn parse_url(url: &str) -> Result<Vec<Endpoint>, ClientError> {
    let bad = |why: String| ClientError::Url { url: url.to_owned(), why };
    if let Some(path) = url.strip_prefix(UNIX) {
        if !path.starts_with('/') || path.ends_with('/') {
            return Err(bad(format!(
                "a socket file needs its full path, for example {UNIX}/run/tenure/node.sock"
            )));
        }
        return Ok(vec![Endpoint::Unix(PathBuf::from(path))]);
    }
    let Some(list) = url.strip_prefix(TCP) else {
        return Err(bad(format!("it must begin with {TCP} or {UNIX}")));
    };
    let list = list.strip_suffix('/').unwrap_or(list);
    list.split(',').map(|address| endpoint(address).map_err(bad)).collect()
}

fn endpoint(address: &str) -> Result<Endpoint, String> {
    let example = "for example tenure://127.0.0.1:7001,127.0.0.1:7002";
    if address.is_empty() {
        return Err(format!("an address is empty, {example}"));
    }
    if let Some(strange) = address.chars().find(|c| c.is_whitespace() || "/?#@".contains(*c)) {
        return Err(format!("the address {address:?} holds {strange:?}, {example}"));
    }
    let Some((host, port)) = address.rsplit_once(':') else {
        return Err(format!("the address {address:?} has no port, {example}"));
    };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    if host.is_empty() || (host.contains(':') && !bracketed) {
        let hint = "an IPv6 address needs brackets: [::1]:7001";
        return Err(format!("the address {address:?} has no host that can be used ({hint})"));
    }
    match port.parse::<u16>() {
        Ok(port) if port > 0 => Ok(Endpoint::Tcp(address.to_owned())),
        _ => Err(format!("the port in {address:?} is not a number from 1 to 65535")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_endpoints() {
        let tcp = |address: &str| Endpoint::Tcp(address.to_owned());
        assert_eq!(
            parse_url("tenure://127.0.0.1:7001,n2.example:7002").unwrap(),
            [tcp("127.0.0.1:7001"), tcp("n2.example:7002")]
        );
        assert_eq!(parse_url("tenure://[::1]:7001/").unwrap(), [tcp("[::1]:7001")]);
        assert_eq!(
            parse_url("tenure+unix:///run/node.sock").unwrap(),
            [Endpoint::Unix("/run/node.sock".into())]
        );
    }

    #[test]
    fn bad_urls_are_refused_with_the_reason() {
        for (url, why) in [
            ("http://127.0.0.1:7001", "must begin with"),
            ("127.0.0.1:7001", "must begin with"),
            ("tenure://", "empty"),
            ("tenure://a:1,,b:2", "empty"),
            ("tenure://a", "no port"),
            ("tenure://a:0", "not a number from 1"),
            ("tenure://a:70000", "not a number from 1"),
            ("tenure://:7001", "no host"),
            ("tenure://::1:7001", "brackets"),
            ("tenure://a:1 ,b:2", "holds ' '"),
            ("tenure://user@a:1", "holds '@'"),
            ("tenure+unix://node.sock", "full path"),
        ] {
            let error = parse_url(url).unwrap_err().to_string();
            assert!(error.contains(why), "{url}: {error}");
            assert!(error.contains(url), "{url}: {error}");
        }
    }
}
