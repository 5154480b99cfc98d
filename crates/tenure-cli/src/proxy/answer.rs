//! What the proxy says itself, as problems by RFC 9457.

use http_body_util::Full;
use hyper::{
    HeaderMap, Response, StatusCode,
    body::Bytes,
    header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER},
};
use serde_json::json;
use tenure_core::{ElectionName, Token};

use super::{body::Answer, rules::ELECTION};

/// On every answer of the proxy itself, with the code of the problem: by it they are told from
/// those of the upstream.
pub(crate) const MARK: HeaderName = HeaderName::from_static("tenure-fence");

/// Why a request was not carried out, or is not known to have been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// A newer token was presented before.
    Stale {
        presented: Token,
        newest: Token,
    },
    /// It was cut because a newer token came before it had arrived in full.
    Overtaken {
        presented: Token,
        newest: Token,
    },
    Missing {
        header: HeaderName,
    },
    Malformed {
        header: String,
    },
    OtherElection {
        presented: String,
        expected: ElectionName,
    },
    Unguarded,
    AmbiguousPath,
    NotForwarded,
    /// Effects under an older token are still under way.
    Busy {
        presented: Token,
    },
    TooLong {
        limit: u64,
    },
    /// The request stopped arriving, or broke off.
    Broken {
        why: String,
    },
    /// The mark cannot be kept.
    Mark {
        why: String,
    },
    Unreachable {
        upstream: String,
        why: String,
    },
    /// The upstream went away before it had answered.
    BadUpstream {
        upstream: String,
        why: String,
    },
    Silent {
        upstream: String,
        seconds: u64,
    },
}

impl Refusal {
    /// For programs; these stay.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Stale { .. } => "stale",
            Self::Overtaken { .. } => "overtaken",
            Self::Missing { .. } => "missing",
            Self::Malformed { .. } => "malformed",
            Self::OtherElection { .. } => "other_election",
            Self::Unguarded => "unguarded",
            Self::AmbiguousPath => "ambiguous_path",
            Self::NotForwarded => "not_forwarded",
            Self::Busy { .. } => "busy",
            Self::TooLong { .. } => "too_long",
            Self::Broken { .. } => "broken",
            Self::Mark { .. } => "mark",
            Self::Unreachable { .. } => "unreachable",
            Self::BadUpstream { .. } => "bad_upstream",
            Self::Silent { .. } => "silent",
        }
    }

    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Stale { .. } | Self::Overtaken { .. } => StatusCode::PRECONDITION_FAILED,
            Self::Missing { .. } => StatusCode::PRECONDITION_REQUIRED,
            Self::Malformed { .. } | Self::AmbiguousPath | Self::Broken { .. } => {
                StatusCode::BAD_REQUEST
            }
            Self::OtherElection { .. } => StatusCode::CONFLICT,
            Self::Unguarded => StatusCode::NOT_FOUND,
            Self::NotForwarded => StatusCode::NOT_IMPLEMENTED,
            Self::Busy { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::TooLong { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Mark { .. } => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unreachable { .. } | Self::BadUpstream { .. } => StatusCode::BAD_GATEWAY,
            Self::Silent { .. } => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// Whether it is certain that the upstream has done nothing.
    fn is_without_effect(&self) -> bool {
        !matches!(self, Self::BadUpstream { .. } | Self::Silent { .. })
    }

    fn detail(&self) -> String {
        match self {
            Self::Stale { presented, newest } => format!(
                "token {presented} is stale: {newest} was presented since, so another one leads"
            ),
            Self::Overtaken { presented, newest } => format!(
                "token {newest} was presented before this request under token {presented} had \
                 arrived in full, so it was cut"
            ),
            Self::Missing { header } => format!("writes need a token in the header {header}"),
            Self::Malformed { header } => {
                format!("the header {header} must be there once, with a token like 42")
            }
            Self::OtherElection { presented, expected } => {
                format!("{ELECTION} is {presented}, but what is there belongs to {expected}")
            }
            Self::Unguarded => String::from("no election guards this path, so nobody passes"),
            Self::AmbiguousPath => String::from(
                "the path can be read in more than one way, and so could belong to another \
                 election: send it without dots, doubled slashes and needless escapes",
            ),
            Self::NotForwarded => String::from("this method is not forwarded"),
            Self::Busy { presented } => format!(
                "an effect under a token older than {presented} is still under way at the \
                 upstream; none begins any more, so try again"
            ),
            Self::TooLong { limit } => format!("the body is longer than {limit} bytes"),
            Self::Broken { why } => format!("the request did not arrive in full: {why}"),
            Self::Mark { why } => {
                format!("whether the token is the newest cannot be found out: {why}")
            }
            Self::Unreachable { upstream, why } => format!("{upstream} cannot be reached: {why}"),
            Self::BadUpstream { upstream, why } => format!(
                "{upstream} went away before it had answered: {why}. Whether the request was \
                 carried out is not known"
            ),
            Self::Silent { upstream, seconds } => format!(
                "{upstream} has not answered for {seconds} s. Whether the request was or will be \
                 carried out is not known"
            ),
        }
    }

    fn next(&self) -> &'static str {
        match self {
            Self::Stale { .. } | Self::Overtaken { .. } => {
                "stop: leadership was lost; contend again and use the new token"
            }
            Self::Busy { .. } | Self::Unreachable { .. } => "try again",
            Self::BadUpstream { .. } | Self::Silent { .. } => {
                "look whether it was carried out, or send it again if twice does no harm"
            }
            Self::Mark { .. } => "see the log of the proxy; it must be started anew",
            _ => "mend the request",
        }
    }

    /// The whole answer.
    pub(crate) fn answer(&self, election: Option<&ElectionName>) -> Response<Answer> {
        let (presented, newest) = match self {
            Self::Stale { presented, newest } | Self::Overtaken { presented, newest } => {
                (Some(presented), Some(newest))
            }
            Self::Busy { presented } => (Some(presented), None),
            _ => (None, None),
        };
        let retryable = matches!(self, Self::Busy { .. } | Self::Unreachable { .. });
        let problem = json!({
            "type": format!("urn:tenure:fence:{}", self.code()),
            "title": "the fence did not let the request through",
            "status": self.status().as_u16(),
            "code": self.code(),
            "detail": self.detail(),
            "next": self.next(),
            "retryable": retryable,
            "without_effect": self.is_without_effect(),
            "election": election,
            "presented": presented,
            "newest": newest,
        });
        let body = Full::new(Bytes::from(format!("{problem}\n")));
        let mut response = Response::new(Answer::own(body));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        let kind = HeaderValue::from_static("application/problem+json");
        headers.insert(CONTENT_TYPE, kind);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(MARK, HeaderValue::from_static(self.code()));
        if retryable {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// Headers that are about one connection, not about the message (RFC 9110, 7.6.1).
pub(crate) fn strip_hops(headers: &mut HeaderMap) {
    let listed: Vec<HeaderName> = headers
        .get_all(hyper::header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in listed {
        headers.remove(name);
    }
    for name in [
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ] {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_about_one_connection_is_not_passed_on() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Mine"),
            ("x-mine", "1"),
            ("upgrade", "websocket"),
            ("te", "trailers"),
            ("x-other", "2"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        strip_hops(&mut headers);
        assert_eq!(headers.keys().collect::<Vec<_>>(), ["x-other"]);
    }

    #[test]
    fn a_refusal_says_what_came_and_what_counts() {
        let refusal = Refusal::Stale { presented: Token::new(41), newest: Token::new(42) };
        let response = refusal.answer(Some(&ElectionName::new("billing").unwrap()));
        assert_eq!(response.status(), 412);
        assert_eq!(response.headers()[MARK], "stale");
        assert!(refusal.detail().contains("41 is stale: 42"), "{}", refusal.detail());
        assert!(!response.headers().contains_key(RETRY_AFTER));
        let busy = Refusal::Busy { presented: Token::new(42) }.answer(None);
        assert_eq!(
            (busy.status().as_u16(), &busy.headers()[RETRY_AFTER]),
            (503, &"1".parse().unwrap())
        );
    }
}
