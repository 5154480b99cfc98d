//! `zk://user:password@host:port,host:port/path`.

use core::time::Duration;

use percent_encoding::percent_decode_str;
use tenure_core::backend::{ConnectError, host_and_port};

/// Where ZooKeeper listens unless told otherwise.
const PORT: u16 = 2181;
/// Below which node elections lie unless told otherwise.
const BASE: &str = "/tenure";

/// What a URL says.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// `host:port` of each server.
    pub(crate) servers: Vec<String>,
    /// `user:password` of the scheme `digest`.
    pub(crate) login: Option<String>,
    /// The node below which everything lies.
    pub(crate) base: String,
    /// The servers' `tickTime`, when it cannot be told from the sessions they grant.
    pub(crate) tick: Option<Duration>,
}

impl core::fmt::Debug for Target {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Target").field("servers", &self.servers).finish_non_exhaustive()
    }
}

impl Target {
    /// # Errors
    /// [`ConnectError::Url`], without the password.
    pub(crate) fn parse(url: &str) -> Result<Self, ConnectError> {
        let Some(rest) = url.strip_prefix("zk://") else {
            return Err(bad("zk://...", "the scheme is zk"));
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (login, rest) = match rest.rsplit_once('@') {
            Some((login, rest)) => (Some(login), rest),
            None => (None, rest),
        };
        let shown = format!("zk://{rest}");
        let (hosts, path) = match rest.split_once('/') {
            Some((hosts, path)) => (hosts, format!("/{}", path.trim_end_matches('/'))),
            None => (rest, String::from("/")),
        };
        let base = if path == "/" { BASE.to_owned() } else { path };
        if base.split('/').skip(1).any(|part| matches!(part, "" | "." | "..")) {
            return Err(bad(&shown, "no node has that path"));
        }
        let servers = hosts.split(',').map(|host| server(host, &shown));
        let mut target = Self {
            servers: servers.collect::<Result<_, _>>()?,
            login: login.map(|given| login_of(given, &shown)).transpose()?,
            base,
            tick: None,
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("tick", millis)) => match millis.strip_suffix("ms").map(str::parse::<u32>) {
                    Some(Ok(millis)) if millis > 0 => {
                        target.tick = Some(Duration::from_millis(u64::from(millis)));
                    }
                    _ => return Err(bad(&shown, "tick= needs the servers' tickTime as 2000ms")),
                },
                _ => return Err(bad(&shown, "the only setting is tick=, the servers' tickTime")),
            }
        }
        Ok(target)
    }

    /// The servers, for people.
    pub(crate) fn shown(&self) -> String {
        format!("ZooKeeper at {}", self.servers.join(", "))
    }
}

fn bad(what: &str, why: &str) -> ConnectError {
    let why = format!("{why}, for example zk://10.0.0.1:2181,10.0.0.2:2181/jobs");
    ConnectError::Url { what: what.to_owned(), why }
}

fn login_of(login: &str, shown: &str) -> Result<String, ConnectError> {
    let why = "before the @ it needs user:password";
    let (user, password) = login.split_once(':').ok_or_else(|| bad(shown, why))?;
    let decoded = |text: &str| match percent_decode_str(text).decode_utf8() {
        Ok(text) if !text.is_empty() => Ok(text.into_owned()),
        _ => Err(bad(shown, why)),
    };
    Ok(format!("{}:{}", decoded(user)?, decoded(password)?))
}

fn server(host: &str, shown: &str) -> Result<String, ConnectError> {
    let (host, port) = host_and_port(host, PORT).map_err(|why| bad(shown, &why))?;
    Ok(format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_url_is_understood() {
        let target = Target::parse("zk://u:p%40w@h1:1,[::1],h3/a/b/?tick=200ms").unwrap();
        assert_eq!(target.servers, ["h1:1", "[::1]:2181", "h3:2181"]);
        assert_eq!(target.login.as_deref(), Some("u:p@w"));
        assert_eq!(target.base, "/a/b");
        assert_eq!(target.tick, Some(Duration::from_millis(200)));
        assert_eq!(Target::parse("zk://h").unwrap().base, "/tenure");
        assert_eq!(Target::parse("zk://h/").unwrap().base, "/tenure");
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for (url, why) in [
            ("zk://u:secret@", "is no host"),
            ("zk://u:secret@h:0", "\"0\" is not a port"),
            ("zk://secret@h", "user:password"),
            ("zk://u:secret@h/a//b", "no node has that path"),
            ("zk://u:secret@h?tick=2", "tickTime as 2000ms"),
            ("zk://u:secret@h?ttl=2", "only setting"),
            ("zoo://u:secret@h", "the scheme is zk"),
        ] {
            let error = Target::parse(url).unwrap_err().to_string();
            assert!(error.contains(why), "{url}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
        let debug = format!("{:?}", Target::parse("zk://u:secret@h").unwrap());
        assert!(!debug.contains("secret"), "{debug}");
    }
}
