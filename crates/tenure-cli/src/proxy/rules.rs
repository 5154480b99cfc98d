//! What a request is about: which guard it belongs to, and under which token it comes. Pure.

use hyper::{HeaderMap, Method, Uri, header::HeaderName};
use tenure_core::{ElectionName, Token};

use super::answer::Refusal;

/// Names the election that a token belongs to; if it is there, it must be the guard's.
pub(crate) const ELECTION: &str = "tenure-election";

/// A part of the upstream, and the election whose leader may write to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Guarded {
    /// Beginning of its paths.
    pub(crate) prefix: String,
    pub(crate) election: ElectionName,
}

/// What is guarded, and how tokens come.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub(crate) guarded: Vec<Guarded>,
    pub(crate) header: HeaderName,
    /// Methods that pass without a token.
    pub(crate) open: Vec<Method>,
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// To be let through under a token, by the guard with this number.
    Token(usize, Token),
    /// A method that needs none.
    Open(usize),
}

impl Guarded {
    /// `NAME`, or `/PREFIX=NAME`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (prefix, name) = match text.split_once('=') {
            Some((prefix, name)) => (prefix, name),
            None => ("/", text),
        };
        if !prefix.starts_with('/') || is_ambiguous(prefix) || prefix.contains(['?', '#']) {
            return Err(format!("{prefix:?} is not the beginning of a path, like /billing"));
        }
        let election = ElectionName::new(name).map_err(|error| error.to_string())?;
        Ok(Self { prefix: prefix.to_owned(), election })
    }

    fn covers(&self, path: &str) -> bool {
        let prefix = self.prefix.trim_end_matches('/');
        path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl Rules {
    pub(crate) fn elections(&self) -> impl Iterator<Item = &ElectionName> {
        self.guarded.iter().map(|guarded| &guarded.election)
    }

    /// What a request asks for, or why nobody can tell.
    pub(crate) fn claim(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Claim, Refusal> {
        if method == Method::CONNECT {
            return Err(Refusal::NotForwarded);
        }
        let at = self.guard_of(uri.path())?;
        let election = &self.guarded[at].election;
        if let Some(other) = single(headers, ELECTION)?
            && other != election.as_str()
        {
            let (presented, expected) = (other.to_owned(), election.clone());
            return Err(Refusal::OtherElection { presented, expected });
        }
        match single(headers, self.header.as_str())? {
            Some(text) => Ok(Claim::Token(at, number(text, &self.header)?)),
            None if self.open.contains(method) => Ok(Claim::Open(at)),
            None => Err(Refusal::Missing { header: self.header.clone() }),
        }
    }

    /// The guard with the longest prefix.
    pub(crate) fn guard_of(&self, path: &str) -> Result<usize, Refusal> {
        // Where everything is one resource it does not matter how the upstream reads a path.
        let one = self.guarded.len() == 1 && self.guarded[0].prefix == "/";
        if !one && is_ambiguous(path) {
            return Err(Refusal::AmbiguousPath);
        }
        let covering = self.guarded.iter().enumerate().filter(|(_, guarded)| guarded.covers(path));
        let longest = covering.max_by_key(|(_, guarded)| guarded.prefix.len());
        longest.map(|(at, _)| at).ok_or(Refusal::Unguarded)
    }
}

/// Paths that an upstream may read as another one: by them a leader could reach what is
/// guarded by another election.
fn is_ambiguous(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    let escaped = ["%2e", "%2f", "%5c", "\\", "//"].iter().any(|part| lower.contains(part));
    // Letters and digits need no escape; who writes them so wants to be read in two ways.
    let hidden = lower.split('%').skip(1).any(|rest| {
        let code = rest.get(..2).and_then(|code| u8::from_str_radix(code, 16).ok());
        code.is_none_or(|code| code.is_ascii_alphanumeric() || b"-_~".contains(&code))
    });
    escaped || hidden || path.split('/').any(|segment| matches!(segment, "." | ".."))
}

/// The value of a header that may be there once.
fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Refusal> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().ok().filter(|_| values.next().is_none());
    text.map(|text| Some(text.trim())).ok_or_else(|| Refusal::Malformed { header: name.to_owned() })
}

/// A token as every guard takes it: digits, no zero in front.
fn number(text: &str, header: &HeaderName) -> Result<Token, Refusal> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    let number = text.parse().ok().filter(|_| digits);
    number.map(Token::new).ok_or_else(|| Refusal::Malformed { header: header.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(guarded: &[&str]) -> Rules {
        Rules {
            guarded: guarded.iter().map(|text| Guarded::parse(text).unwrap()).collect(),
            header: HeaderName::from_static("tenure-token"),
            open: vec![Method::GET],
        }
    }

    fn claim(rules: &Rules, method: &str, path: &str, headers: &[(&str, &str)]) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        let claim = rules.claim(&method.parse().unwrap(), &path.parse().unwrap(), &map);
        match claim {
            Ok(Claim::Token(at, token)) => format!("{at} {token}"),
            Ok(Claim::Open(at)) => format!("{at} open"),
            Err(refusal) => refusal.code().to_owned(),
        }
    }

    #[test]
    fn a_write_needs_one_sound_token() {
        let rules = rules(&["billing"]);
        let put = |headers: &[(&str, &str)]| claim(&rules, "PUT", "/a//../b", headers);
        assert_eq!(put(&[("Tenure-Token", "42")]), "0 42");
        assert_eq!(put(&[("tenure-token", " 18446744073709551615 ")]), "0 18446744073709551615");
        assert_eq!(put(&[]), "missing");
        assert_eq!(put(&[("tenure-token", "1"), ("tenure-token", "2")]), "malformed");
        for bad in ["", "0", "007", "-1", "+1", "1.5", "x", "18446744073709551616", "1, 2"] {
            assert_eq!(put(&[("tenure-token", bad)]), "malformed", "{bad}");
        }
        let named = |name| put(&[("tenure-token", "1"), ("tenure-election", name)]);
        assert_eq!(named("billing"), "0 1");
        assert_eq!(named("other"), "other_election");
    }

    #[test]
    fn methods_that_were_opened_need_none_but_are_held_to_one_they_bring() {
        let rules = rules(&["billing"]);
        assert_eq!(claim(&rules, "GET", "/a", &[]), "0 open");
        assert_eq!(claim(&rules, "GET", "/a", &[("tenure-token", "7")]), "0 7");
        assert_eq!(claim(&rules, "HEAD", "/a", &[]), "missing");
        assert_eq!(claim(&rules, "CONNECT", "h:1", &[("tenure-token", "7")]), "not_forwarded");
    }

    #[test]
    fn the_longest_prefix_of_whole_segments_guards() {
        let rules = rules(&["/a=one", "/a/b=two", "/a/bc/=three"]);
        let put = |path: &str| claim(&rules, "PUT", path, &[("tenure-token", "1")]);
        for (path, guard) in [
            ("/a", "0 1"),
            ("/a/x?y=/a/b", "0 1"),
            ("/a/b", "1 1"),
            ("/a/b/", "1 1"),
            ("/a/bc", "2 1"),
            ("/a/bcd", "0 1"),
            ("/ab", "unguarded"),
            ("/", "unguarded"),
            ("/a/b%20c", "0 1"),
            ("/a/../a/b", "ambiguous_path"),
            ("/a/./b", "ambiguous_path"),
            ("/a//b", "ambiguous_path"),
            ("/a%2Fb", "ambiguous_path"),
            ("/a/%2e%2E/c", "ambiguous_path"),
            ("/a/%62", "ambiguous_path"),
            ("/a/%zz", "ambiguous_path"),
        ] {
            assert_eq!(put(path), guard, "{path}");
        }
    }

    #[test]
    fn what_is_guarded_is_a_path_and_an_election() {
        for bad in ["a=one", "=one", "/a/../b=one", "/a?b=one", "/a=", ""] {
            assert!(Guarded::parse(bad).is_err(), "{bad}");
        }
    }
}
