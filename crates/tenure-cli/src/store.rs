//! Commands on stores that are no quorum of Tenure nodes: `redis://`, `file:///`, ...

use std::time::Duration;

use tenure::{Elector, Error, Observer, Sighting};
use tenure_core::{ElectionName, View, backend::ConnectError};

use crate::{
    ask::{self, PATIENCE},
    cli::Global,
    error::{Exit, Failure, Outcome},
};

/// The URL of such a store, when the command line names one.
pub(crate) fn url(global: &Global) -> Option<&str> {
    global.url.as_deref().filter(|url| is_store(url))
}

/// Whether a URL names a store other than a quorum of Tenure nodes.
pub(crate) fn is_store(url: &str) -> bool {
    url.split_once("://").is_some_and(|(scheme, _)| !matches!(scheme, "tenure" | "tenure+unix"))
}

/// Follows one election.
pub(crate) async fn observe(
    url: &str,
    election: &ElectionName,
    global: &Global,
) -> Outcome<(Elector, Observer)> {
    let builder = Elector::builder().timeout(global.timeout.unwrap_or(PATIENCE));
    let elector = builder.connect(url).await.map_err(|error| failed(&error))?;
    let observer = elector.observe(election.as_str()).await.map_err(|error| failed(&error))?;
    Ok((elector, observer))
}

/// How an election stands; with `wait`, once somebody leads, or after that long.
pub(crate) async fn sighting(
    url: &str,
    election: &ElectionName,
    wait: Option<Option<Duration>>,
    global: &Global,
) -> Outcome<Sighting> {
    let (_elector, mut observer) = observe(url, election, global).await?;
    let mut last = None;
    let seen = async {
        while let Some(sighting) = observer.changed().await {
            let enough = match wait {
                Some(_) => sighting.view.leader().is_some(),
                None => true,
            };
            if enough {
                return Some(sighting);
            }
            last = Some(sighting);
        }
        None
    };
    let limit = match wait {
        Some(limit) => limit,
        None => Some(global.timeout.unwrap_or(PATIENCE)),
    };
    let seen = match limit {
        Some(limit) => tokio::time::timeout(limit, seen).await.unwrap_or_default(),
        None => seen.await,
    };
    match seen.or(last) {
        Some(sighting) if sighting.view != View::Unknown => Ok(sighting),
        unknown => {
            let why = unknown.and_then(|sighting| sighting.reason);
            let why = why.unwrap_or_else(|| String::from("no answer in time"));
            let next = "see whether the store runs, and try again";
            Err(Failure::new(Exit::Unavailable, "who leads is not known", why, next))
        }
    }
}

/// What to say when an elector or a campaign fails.
pub(crate) fn failed(error: &Error) -> Failure {
    match error {
        Error::Refused(refusal) => ask::refused(refusal),
        Error::Client(error) => ask::unanswered(error),
        Error::Name(_)
        | Error::Ttl(_)
        | Error::TtlRange(_)
        | Error::FixedTtl { .. }
        | Error::TtlTooShort { .. } => {
            Failure::usage("cannot contend", error, "tenure campaign --help")
        }
        Error::Store(store) => unconnected(store),
        _ => Failure::new(Exit::Tool, "cannot contend", error, "start the process again"),
    }
}

fn unconnected(error: &ConnectError) -> Failure {
    match error {
        ConnectError::Url { .. } => {
            Failure::usage("the URL does not name a store", error, "give another --url")
        }
        ConnectError::Unavailable { .. } => Failure::new(
            Exit::Unavailable,
            "the store cannot be reached",
            error,
            "see whether it runs at the address of --url, and try again",
        ),
        ConnectError::Unusable { .. } => {
            Failure::new(Exit::Denied, "the store cannot be used", error, "mend that first")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_other_schemes_are_stores() {
        assert!(is_store("redis://h:1") && is_store("file:///d"));
        for quorum in ["tenure://h:1", "tenure+unix:///s", "h:1"] {
            assert!(!is_store(quorum), "{quorum}");
        }
    }
}
