//! What a URL says: libpq's own parameters, and ours.

use std::{path::PathBuf, str::FromStr};

use tenure_core::backend::ConnectError;
use tokio_postgres::{
    Config,
    config::{Host, SslMode, TargetSessionAttrs},
};

/// Longest name of a schema or a table: both together name a channel, whose name may have 63
/// bytes.
const LONGEST_NAME: usize = 30;
const EXAMPLE: &str = "for example postgres://user@db1,db2/app?sslmode=verify-full&table=jobs";

/// How the server's certificate is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Not at all: `prefer` and `require`, as libpq has them.
    Anything,
    /// By who signed it.
    Issuer,
    /// By who signed it and for which host.
    Host,
}

/// Where the certificates of issuers are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Roots {
    System,
    File(PathBuf),
}

/// A URL that was understood.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    pub(crate) config: Config,
    pub(crate) trust: Trust,
    pub(crate) roots: Roots,
    pub(crate) schema: String,
    pub(crate) table: String,
    /// Missing tables are made.
    pub(crate) migrate: bool,
    /// Hand-overs are listened for.
    pub(crate) listen: bool,
}

impl Address {
    /// Understands a URL. Its secrets are in no error.
    pub(crate) fn parse(url: &str) -> Result<Self, ConnectError> {
        let bad = |why: String| ConnectError::Url { what: without_secrets(url), why };
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let mut address = Self {
            config: Config::new(),
            trust: Trust::Anything,
            roots: Roots::System,
            schema: String::from("public"),
            table: String::from("tenure_lease"),
            migrate: true,
            listen: true,
        };
        let (mut rest, mut ssl, mut has_roots, mut has_target) = (Vec::new(), None, false, false);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            match key {
                "schema" => address.schema = name(key, value).map_err(bad)?,
                "table" => address.table = name(key, value).map_err(bad)?,
                "migrate" => address.migrate = yes_or_no(key, value).map_err(bad)?,
                "listen" => address.listen = yes_or_no(key, value).map_err(bad)?,
                "sslmode" => ssl = Some(value),
                "sslrootcert" => {
                    has_roots = true;
                    address.roots = match decoded(value).map_err(bad)? {
                        system if system == "system" => Roots::System,
                        file => Roots::File(PathBuf::from(file)),
                    };
                }
                _ => {
                    has_target |= key == "target_session_attrs";
                    rest.push(pair);
                }
            }
        }
        let plain = match rest.is_empty() {
            true => base.to_owned(),
            false => format!("{base}?{}", rest.join("&")),
        };
        address.config = Config::from_str(&plain)
            .map_err(|error| bad(format!("{}; {EXAMPLE}", crate::trouble::chain(&error))))?;
        address.trust = address.secure(ssl, has_roots).map_err(bad)?;
        if address.config.get_hosts().is_empty() && address.config.get_hostaddrs().is_empty() {
            return Err(bad(format!("it names no host; {EXAMPLE}")));
        }
        // Among several hosts only the primary can grant.
        if !has_target && address.config.get_hosts().len() > 1 {
            address.config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        if address.config.get_application_name().is_none() {
            address.config.application_name("tenure");
        }
        Ok(address)
    }

    fn secure(&mut self, mode: Option<&str>, has_roots: bool) -> Result<Trust, String> {
        let (mode, trust) = match mode {
            Some("disable") => (SslMode::Disable, Trust::Anything),
            None | Some("prefer") => (SslMode::Prefer, Trust::Anything),
            // With certificates of issuers at hand libpq checks them here too.
            Some("require") if has_roots => (SslMode::Require, Trust::Issuer),
            Some("require") => (SslMode::Require, Trust::Anything),
            Some("verify-ca") => (SslMode::Require, Trust::Issuer),
            Some("verify-full") => (SslMode::Require, Trust::Host),
            Some(other) => {
                return Err(format!(
                    "there is no sslmode {other:?}: disable, prefer, require, verify-ca and \
                     verify-full can be asked for"
                ));
            }
        };
        self.config.ssl_mode(mode);
        Ok(trust)
    }

    /// For people: which server and which table.
    pub(crate) fn label(&self) -> String {
        let hosts = self.config.get_hosts().iter().map(|host| match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(path) => path.display().to_string(),
        });
        let hosts: Vec<_> = hosts.collect();
        let ports: Vec<_> = self.config.get_ports().iter().map(u16::to_string).collect();
        let ports = if ports.is_empty() { String::new() } else { format!(":{}", ports.join(",")) };
        let database = self.config.get_dbname().unwrap_or_default();
        format!("postgres://{}{ports}/{database}", hosts.join(","))
    }
}

fn yes_or_no(key: &str, value: &str) -> Result<bool, String> {
    match value {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err(format!("{key}={value} is neither {key}=yes nor {key}=no")),
    }
}

/// An identifier that needs no quotes.
fn name(key: &str, value: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let starts = value.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
    if starts && value.len() <= LONGEST_NAME && value.bytes().all(plain) {
        return Ok(value.to_owned());
    }
    Err(format!(
        "{key}={value} is no name: it takes 1 to {LONGEST_NAME} small letters, digits and _, \
         and does not begin with a digit"
    ))
}

fn decoded(value: &str) -> Result<String, String> {
    let mut bytes = Vec::new();
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next(), rest.next()].map(|digit| digit.unwrap_or_default());
        let digits = core::str::from_utf8(&digits).unwrap_or_default();
        let byte = u8::from_str_radix(digits, 16);
        bytes.push(byte.map_err(|_| format!("{value} has a % without two digits after it"))?);
    }
    String::from_utf8(bytes).map_err(|_| format!("{value} is no text"))
}

/// The URL as it may be shown: no user, no password, no parameters.
fn without_secrets(url: &str) -> String {
    let base = url.split_once('?').map_or(url, |(base, _)| base);
    match base.split_once("://") {
        Some((scheme, rest)) => {
            let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
            format!("{scheme}://{host}")
        }
        None => String::from("this URL"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(url: &str) -> String {
        Address::parse(url).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn libpq_parameters_and_ours_live_side_by_side() {
        let url = "postgresql://u:p@db:5433/app?table=jobs&connect_timeout=3&migrate=no";
        let address = Address::parse(url).unwrap();
        assert_eq!((address.schema.as_str(), address.table.as_str()), ("public", "jobs"));
        assert!(!address.migrate && address.listen);
        assert_eq!(address.config.get_connect_timeout().map(|wait| wait.as_secs()), Some(3));
        assert_eq!(address.label(), "postgres://db:5433/app");
    }

    #[test]
    fn of_several_hosts_the_primary_is_wanted() {
        let several = Address::parse("postgres://u@a,b/app").unwrap();
        assert_eq!(several.config.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
        let one = Address::parse("postgres://u@a/app").unwrap();
        assert_eq!(one.config.get_target_session_attrs(), TargetSessionAttrs::Any);
    }

    #[test]
    fn how_a_certificate_is_judged_is_what_libpq_says() {
        let trust =
            |query: &str| Address::parse(&format!("postgres://u@h/d{query}")).unwrap().trust;
        assert_eq!(trust(""), Trust::Anything);
        assert_eq!(trust("?sslmode=require"), Trust::Anything);
        assert_eq!(trust("?sslmode=require&sslrootcert=/ca.pem"), Trust::Issuer);
        assert_eq!(trust("?sslmode=verify-full"), Trust::Host);
        let roots = Address::parse("postgres://u@h/d?sslmode=verify-ca&sslrootcert=/a%20b.pem");
        assert_eq!(roots.unwrap().roots, Roots::File(PathBuf::from("/a b.pem")));
    }

    #[test]
    fn names_that_need_quotes_are_refused() {
        for table in ["", "1a", "Jobs", "a-b", "a\"b", "a;drop", &"x".repeat(31)] {
            let why = why(&format!("postgres://u@h/d?table={table}"));
            assert!(why.contains("is no name"), "{table}: {why}");
        }
    }

    #[test]
    fn a_refused_url_keeps_its_secrets() {
        for url in [
            "postgres://u:secret@h/d?sslmode=sometimes",
            "postgres://u:secret@h/d?wrong=1",
            "postgres://u:secret@h:port/d",
            "postgres://u:secret@h/d?password=secret&listen=maybe",
        ] {
            let why = why(url);
            assert!(!why.is_empty() && !why.contains("secret"), "{why}");
        }
    }
}
