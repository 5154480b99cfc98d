//! What resign, transfer and evict have in common: ask, then watch until the tenure has
//! changed, and say what was before and after.

use std::time::{Duration, Instant};

use serde_json::json;
use tenure_core::{
    ElectionName, Leader, Token, View,
    ledger::{Command, Outcome as Done},
};
use tenure_quorum::client::Watch;

use crate::{
    ask::{self, Asker, LONG_PATIENCE},
    cli::Global,
    error::{Exit, Failure, Outcome},
    output::{Output, human, json, time},
};

/// A change of the leader that an operator asks for.
#[derive(Debug)]
pub(super) struct Request {
    /// The election.
    pub(super) election: ElectionName,
    /// What is asked of the ledger.
    pub(super) command: Command,
    /// Whether it can be taken back when the leader does not react in time.
    pub(super) cancel: bool,
    /// Whether a vacancy is an end as good as a successor.
    pub(super) vacancy_will_do: bool,
}

/// What became of it.
#[derive(Debug, PartialEq)]
pub(super) struct Succession {
    election: ElectionName,
    before: Option<Leader>,
    /// Who leads now.
    pub(super) after: Option<Leader>,
    took: Duration,
}

impl Request {
    /// Asks, and waits until the tenure has changed.
    pub(super) async fn carry_out(self, global: &Global) -> Outcome<Succession> {
        let asker = Asker::connect(global).await?;
        let patience = global.timeout.unwrap_or(LONG_PATIENCE);
        asker.confirm().await?;
        if !self.vacancy_will_do && asker.detail(&self.election).await?.line.paused {
            return Err(Failure::new(
                Exit::Conflict,
                format!("{} is paused", self.election),
                "its leader would go, and nobody would follow",
                format!("tenure resume {}; then ask again", self.election),
            ));
        }
        let mut watch = asker.watch(vec![self.election.clone()], None).await?;
        let first = ask::next_push(&mut watch).await;
        let first = first.ok_or_else(|| ask::no_quorum("the connection ended"))?;
        let before = first.sighting.view.leader().cloned();
        let begun = Instant::now();
        let token = match asker.command(self.command.clone()).await? {
            Done::Asked { token } => token,
            other => return Err(odd(&other)),
        };
        let changed = tokio::time::timeout(patience, self.changed(&mut watch, token)).await;
        let after = match changed {
            Ok(after) => after?,
            Err(_) => self.give_up(&asker, token, patience).await?,
        };
        let took = begun.elapsed();
        Ok(Succession { election: self.election, before, after, took })
    }

    /// Whether the tenure is over, and who leads now.
    fn end(&self, view: &View, token: Token) -> Option<Option<Leader>> {
        match view {
            View::Led(leader) if leader.token > token => Some(Some(leader.clone())),
            View::Vacant if self.vacancy_will_do => Some(None),
            View::Led(_) | View::Vacant | View::Unknown => None,
        }
    }

    async fn changed(&self, watch: &mut Watch, token: Token) -> Outcome<Option<Leader>> {
        while let Some(push) = ask::next_push(watch).await {
            if let Some(after) = self.end(&push.sighting.view, token) {
                return Ok(after);
            }
        }
        Err(ask::no_quorum("the connection ended before the leader changed"))
    }

    /// Takes the request back, unless it was followed in the last moment.
    async fn give_up(
        &self,
        asker: &Asker,
        token: Token,
        patience: Duration,
    ) -> Outcome<Option<Leader>> {
        let election = self.election.clone();
        let (why, next) = if self.cancel {
            asker.command(Command::CancelReserve { election }).await?;
            (
                "the request was taken back; the leader stays",
                "wait longer with --timeout, or revoke its tenure: tenure evict",
            )
        } else {
            (
                "the eviction stays in force: its tenure ends when its lease can no longer be \
                 believed in",
                "watch it end: tenure watch",
            )
        };
        let view = asker.confirmed_view(&self.election).await?.view;
        self.end(&view, token).ok_or_else(|| {
            if view == View::Vacant {
                return Failure::new(
                    Exit::Unavailable,
                    format!("the leader stopped, and nobody followed within {patience:?}"),
                    "its successor died, or the election was paused meanwhile",
                    format!("tenure status {}", self.election),
                );
            }
            let what = format!("the leader did not stop within {patience:?}");
            Failure::new(Exit::Unavailable, what, why, format!("{next} {}", self.election))
        })
    }
}

fn odd(outcome: &Done) -> Failure {
    Failure::new(
        Exit::Tool,
        "the ledger gave an answer that does not fit",
        format!("{outcome:?}"),
        "use the same version of tenure everywhere: tenure version",
    )
}

impl Succession {
    /// Prints what was before and what is now.
    pub(super) fn show(&self, output: Output) -> Outcome<()> {
        if output.json {
            let line = json!({
                "election": self.election,
                "before": self.before.as_ref().map(json::leader),
                "after": self.after.as_ref().map(json::leader),
                "took_ms": time::millis(self.took),
            });
            return output.data(&json::text(&line));
        }
        output.data(&self.human())
    }

    fn human(&self) -> String {
        let side = |leader: Option<&Leader>| match leader {
            Some(leader) => format!("{} (token {})", human::name(leader), leader.token),
            None => String::from("vacant"),
        };
        format!(
            "{}: {} -> {}, after {}",
            self.election,
            side(self.before.as_ref()),
            side(self.after.as_ref()),
            time::span(self.took)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tenure_core::{CandidateId, Value, WallTime, timing::Ttl};

    fn leader(id: &str, token: u64) -> Leader {
        Leader {
            id: CandidateId::new(id).unwrap(),
            value: Value::default(),
            token: Token::new(token),
            ttl: Ttl::new(Duration::from_secs(1)).unwrap(),
            since: WallTime::default(),
        }
    }

    fn request(vacancy_will_do: bool) -> Request {
        let election = ElectionName::new("billing").unwrap();
        let command = Command::Reserve { election: election.clone(), to: None, if_token: None };
        Request { election, command, cancel: true, vacancy_will_do }
    }

    #[test]
    fn before_and_after_fit_on_one_line() {
        let succession = Succession {
            election: ElectionName::new("billing").unwrap(),
            before: Some(leader("b", 42)),
            after: Some(leader("c", 47)),
            took: Duration::from_millis(12),
        };
        assert_eq!(succession.human(), "billing: b (token 42) -> c (token 47), after 12 ms");
        let vacant = Succession { after: None, ..succession };
        assert_eq!(vacant.human(), "billing: b (token 42) -> vacant, after 12 ms");
    }

    #[test]
    fn only_a_higher_token_is_a_successor() {
        let token = Token::new(42);
        let end = |view, vacancy| request(vacancy).end(&view, token).is_some();
        assert!(end(View::Led(leader("c", 43)), false));
        assert!(!end(View::Led(leader("b", 42)), false));
        assert!(!end(View::Vacant, false));
        assert!(end(View::Vacant, true));
        assert!(!end(View::Unknown, true));
    }
}
