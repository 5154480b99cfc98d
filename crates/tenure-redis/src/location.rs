//! Where Redis is, as a URL says it.

use std::{fmt, path::PathBuf};

use percent_encoding::percent_decode_str;
use tenure_core::backend::{ConnectError, host_and_port};

/// Prefix of all keys unless the URL names another.
const PREFIX: &str = "tenure";
const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// One server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Address {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// A password; never shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(pub(crate) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How the primary is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Server(Address),
    Sentinels { at: Vec<Address>, name: String },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(address) => write!(f, "Redis at {address}"),
            Self::Sentinels { at, name } => {
                let at: Vec<_> = at.iter().map(Address::to_string).collect();
                write!(f, "Redis {name:?} of the sentinels at {}", at.join(","))
            }
        }
    }
}

/// Everything that a URL says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) place: Place,
    pub(crate) tls: bool,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
    pub(crate) database: i64,
    pub(crate) prefix: String,
    /// Certificates to trust instead of the machine's.
    pub(crate) ca: Option<PathBuf>,
}

impl Location {
    pub(crate) fn parse(url: &str) -> Result<Self, ConnectError> {
        parse(url).map_err(|why| ConnectError::Url { what: redacted(url), why })
    }
}

/// The URL without user, password and settings.
fn redacted(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return String::from("this URL") };
    // In this order: a password that was not encoded may hold a question mark.
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    let rest = rest.split('?').next().unwrap_or_default();
    format!("{scheme}://{rest}")
}

fn parse(url: &str) -> Result<Location, String> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (tls, sentinels) = match scheme {
        "redis" => (false, false),
        "rediss" => (true, false),
        "redis+sentinel" => (false, true),
        _ => return Err(format!("{scheme:?} is not redis, rediss or redis+sentinel")),
    };
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    if query.contains('@') {
        return Err(String::from(
            "there is an @ behind the question mark: in user, password and settings write ? as \
             %3F and @ as %40",
        ));
    }
    let (credentials, rest) = match rest.rsplit_once('@') {
        Some((credentials, rest)) => (Some(credentials), rest),
        None => (None, rest),
    };
    let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (place, database) = match sentinels {
        true => {
            let (name, database) = path.split_once('/').unwrap_or((path, ""));
            if name.is_empty() {
                return Err(String::from(
                    "it does not say by which name the sentinels know the primary, for example \
                     redis+sentinel://10.0.0.1:26379,10.0.0.2:26379/mymaster",
                ));
            }
            let at: Result<_, _> = hosts.split(',').map(|at| address(at, SENTINEL_PORT)).collect();
            (Place::Sentinels { at: at?, name: decoded(name)? }, database)
        }
        false if hosts.contains(',') => {
            return Err(String::from(
                "it names several servers; under Sentinel use \
                 redis+sentinel://host:port,host:port/name, otherwise name the primary",
            ));
        }
        false => (Place::Server(address(hosts, REDIS_PORT)?), path),
    };
    let (user, password) = match credentials {
        None => (None, None),
        Some(credentials) => match credentials.split_once(':') {
            Some((user, password)) => {
                let user = Some(decoded(user)?).filter(|user| !user.is_empty());
                (user, Some(Secret(decoded(password)?)))
            }
            None => (Some(decoded(credentials)?), None),
        },
    };
    let mut location = Location {
        place,
        tls,
        user,
        password,
        database: number(database)?,
        prefix: String::from(PREFIX),
        ca: None,
    };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        location.set(pair)?;
    }
    Ok(location)
}

impl Location {
    fn set(&mut self, pair: &str) -> Result<(), String> {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decoded(value)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        match key {
            "prefix" if !value.is_empty() && value.chars().all(plain) => self.prefix = value,
            "prefix" => {
                return Err(String::from(
                    "a prefix has letters, digits and . _ - only, for example prefix=billing",
                ));
            }
            "ca" if self.tls => self.ca = Some(PathBuf::from(value)),
            "ca" => return Err(String::from("ca= is for rediss:// only")),
            // The value is not repeated: it may be a secret in the wrong place.
            _ => {
                return Err(format!("there is no setting {key:?}; known are prefix, ca, require"));
            }
        }
        Ok(())
    }
}

fn number(text: &str) -> Result<i64, String> {
    match text {
        "" => Ok(0),
        _ => text.parse::<u32>().map(i64::from).map_err(|_| {
            format!("{text:?} is not the number of a database, for example redis://host:6379/0")
        }),
    }
}

fn decoded(text: &str) -> Result<String, String> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(String::from).map_err(|_| String::from("it holds bytes that are not text"))
}

fn address(text: &str, default: u16) -> Result<Address, String> {
    let (host, port) = host_and_port(text, default)?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok(Address { host, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: &str, port: u16) -> Address {
        Address { host: host.to_owned(), port }
    }

    #[test]
    fn urls_say_where_and_how() {
        let plain = Location::parse("redis://h").unwrap();
        assert_eq!(plain.place, Place::Server(at("h", 6379)));
        assert_eq!((plain.tls, plain.database, plain.prefix.as_str()), (false, 0, "tenure"));
        let full = Location::parse("rediss://bob:p%40ss:1@[::1]:7/3?prefix=x&ca=/c.pem").unwrap();
        assert_eq!(full.place, Place::Server(at("::1", 7)));
        assert_eq!(full.user.as_deref(), Some("bob"));
        assert_eq!(full.password, Some(Secret(String::from("p@ss:1"))));
        assert_eq!((full.tls, full.database, full.prefix.as_str()), (true, 3, "x"));
        assert_eq!(full.ca, Some(PathBuf::from("/c.pem")));
        let alone = Location::parse("redis://:secret@h:1").unwrap();
        assert_eq!((alone.user, alone.password), (None, Some(Secret(String::from("secret")))));
        let sentinels = Location::parse("redis+sentinel://a:1,b/mymaster/2").unwrap();
        let name = String::from("mymaster");
        let place = Place::Sentinels { at: vec![at("a", 1), at("b", 26379)], name };
        assert_eq!((sentinels.place, sentinels.database), (place, 2));
    }

    #[test]
    fn bad_urls_are_refused_without_their_secrets() {
        for url in [
            "redis://u:hunter2@h:x",
            "redis://u:hunter2?x@h",
            "redis://u:hunter2@h/abc",
            "redis://u:hunter2@a,b",
            "redis://u:hunter2@h?prefix={}",
            "redis://u:hunter2@h?password=hunter2",
            "redis://u:hunter2@h?ca=hunter2",
            "redis+sentinel://u:hunter2@h:1",
            "redis+sentinel://u:hunter2@h:1,/name",
            "redis://",
        ] {
            let error = Location::parse(url).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{url}: {error}");
        }
        let known = Location::parse("redis://u:hunter2@h").unwrap();
        assert!(!format!("{known:?}").contains("hunter2"));
    }
}
