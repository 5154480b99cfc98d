//! `etcd://user:password@host:port,host:port?prefix=tenure/`.

use percent_encoding::percent_decode_str;
use tenure_core::backend::{ConnectError, host_and_port};

/// Where etcd listens unless told otherwise.
const PORT: u16 = 2379;
/// Below which keys elections lie unless told otherwise.
const PREFIX: &str = "tenure/";

/// What a URL says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// `host:port` of each member.
    pub(crate) members: Vec<String>,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) prefix: String,
    /// Encrypted, and trusted how.
    pub(crate) tls: Option<Tls>,
}

/// A user and a password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) user: String,
    pub(crate) password: String,
}

impl core::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Credentials({:?}, ...)", self.user)
    }
}

/// How the connection is encrypted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tls {
    /// File with the authorities that are trusted, instead of the system's.
    pub(crate) ca: Option<String>,
    /// Files with the own certificate and its key.
    pub(crate) identity: Option<(String, String)>,
}

impl Target {
    /// # Errors
    /// [`ConnectError::Url`], without the password.
    pub(crate) fn parse(url: &str) -> Result<Self, ConnectError> {
        let (encrypted, rest) = match url.split_once("://") {
            Some(("etcd", rest)) => (false, rest),
            Some(("etcds", rest)) => (true, rest),
            _ => return Err(bad("etcd://...", "the scheme is etcd or etcds")),
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (login, hosts) = match rest.rsplit_once('@') {
            Some((login, hosts)) => (Some(login), hosts),
            None => (None, rest),
        };
        let shown = format!("etcd{}://{hosts}", if encrypted { "s" } else { "" });
        let credentials = login.map(|login| credentials(login, &shown)).transpose()?;
        let hosts = hosts.strip_suffix('/').unwrap_or(hosts);
        let members = hosts.split(',').map(|host| member(host, &shown));
        let mut target = Self {
            members: members.collect::<Result<_, _>>()?,
            credentials,
            prefix: String::from(PREFIX),
            tls: encrypted.then(Tls::default),
        };
        target.settings(query, &shown)?;
        Ok(target)
    }

    fn settings(&mut self, query: &str, shown: &str) -> Result<(), ConnectError> {
        let (mut certificate, mut key) = (None, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decoded(value, shown)?;
            match (name, &mut self.tls) {
                ("prefix", _) if value.is_empty() => {
                    return Err(bad(
                        shown,
                        "the prefix is empty; elections need keys of their own",
                    ));
                }
                ("prefix", _) => self.prefix = value,
                ("ca", Some(tls)) => tls.ca = Some(value),
                ("cert", Some(_)) => certificate = Some(value),
                ("key", Some(_)) => key = Some(value),
                ("ca" | "cert" | "key", None) => {
                    return Err(bad(shown, &format!("{name}= goes with etcds://, not etcd://")));
                }
                _ => {
                    let why = format!(
                        "there is no setting {name:?}; known are prefix, and ca, cert and key \
                         (files, with etcds)"
                    );
                    return Err(bad(shown, &why));
                }
            }
        }
        match (certificate, key, &mut self.tls) {
            (Some(certificate), Some(key), Some(tls)) => tls.identity = Some((certificate, key)),
            (None, None, _) => {}
            _ => return Err(bad(shown, "cert= and key= are given together or not at all")),
        }
        Ok(())
    }

    /// The members, for people.
    pub(crate) fn shown(&self) -> String {
        format!("etcd at {}", self.members.join(", "))
    }
}

fn bad(what: &str, why: &str) -> ConnectError {
    let why = format!("{why}, for example etcd://10.0.0.1:2379,10.0.0.2:2379");
    ConnectError::Url { what: what.to_owned(), why }
}

fn decoded(text: &str, shown: &str) -> Result<String, ConnectError> {
    let decoded = percent_decode_str(text).decode_utf8();
    Ok(decoded.map_err(|_| bad(shown, "a %XX in it is not UTF-8"))?.into_owned())
}

fn credentials(login: &str, shown: &str) -> Result<Credentials, ConnectError> {
    match login.split_once(':') {
        Some((user, password)) if !user.is_empty() => {
            let (user, password) = (decoded(user, shown)?, decoded(password, shown)?);
            Ok(Credentials { user, password })
        }
        _ => Err(bad(shown, "before the @ it needs user:password")),
    }
}

fn member(host: &str, shown: &str) -> Result<String, ConnectError> {
    let (host, port) = host_and_port(host, PORT).map_err(|why| bad(shown, &why))?;
    Ok(format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_url_is_understood() {
        let url = "etcds://u%40x:p%3Aw@h1:1,[::1],h3/?prefix=a%2Fb/&ca=/c.pem&cert=/d&key=/e";
        let target = Target::parse(url).unwrap();
        assert_eq!(target.members, ["h1:1", "[::1]:2379", "h3:2379"]);
        let credentials = target.credentials.unwrap();
        assert_eq!((credentials.user.as_str(), credentials.password.as_str()), ("u@x", "p:w"));
        assert_eq!(target.prefix, "a/b/");
        let identity = Some((String::from("/d"), String::from("/e")));
        assert_eq!(target.tls, Some(Tls { ca: Some(String::from("/c.pem")), identity }));
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for (url, why) in [
            ("etcd://u:secret@", "is no host"),
            ("etcd://u:secret@h:0", "\"0\" is not a port"),
            ("etcd://u:secret@h:x", "\"x\" is not a port"),
            ("etcd://secret@h", "user:password"),
            ("etcd://u:secret@h?ttl=5", "no setting \"ttl\""),
            ("etcd://u:secret@h?ca=/x", "goes with etcds"),
            ("etcds://u:secret@h?cert=/x", "given together"),
            ("etcd://u:secret@h?prefix=", "prefix is empty"),
        ] {
            let error = Target::parse(url).unwrap_err().to_string();
            assert!(error.contains(why), "{url}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
        let debug = format!("{:?}", Target::parse("etcd://u:secret@h").unwrap());
        assert!(!debug.contains("secret"), "{debug}");
    }
}
