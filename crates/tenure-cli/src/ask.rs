//! Asking a cluster, and turning what comes back into data or one clear message.

use std::{future::Future, time::Duration};

use tenure_core::{
    ElectionName, NodeName, Sighting, View,
    ledger::{Command, Outcome as Done, Refusal},
};
use tenure_quorum::{
    client::{Client, ClientError, ClientOptions, Endpoint, Watch, Watched},
    wire::{ClusterView, ElectionDetail, ElectionLine, Push, Question, Reply},
};
pub(crate) use tenure_replica::{MemberWish, RaftRole, Wish};

use crate::{
    cli::Global,
    discover::{self, Found},
    error::{Exit, Failure, Outcome},
};

/// Longest wait for one answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// Longest wait for a leader to act.
pub(crate) const LONG_PATIENCE: Duration = Duration::from_secs(10);

/// A node that has not heard a quorum for this long says so at once.
const LOST: Duration = Duration::from_secs(3);

/// A connection, and how long to wait.
#[derive(Debug)]
pub(crate) struct Asker {
    client: Client,
    pub(crate) timeout: Duration,
}

impl Asker {
    /// Finds the cluster and connects to one of its nodes.
    pub(crate) async fn connect(global: &Global) -> Outcome<Self> {
        let found = discover::cluster(global)?;
        Self::connect_to(&found, global.timeout.unwrap_or(PATIENCE)).await
    }

    /// Connects to one node of a cluster that was found.
    pub(crate) async fn connect_to(found: &Found, timeout: Duration) -> Outcome<Self> {
        let client = connect(found.endpoints.clone(), timeout).await?;
        Ok(Self { client, timeout })
    }

    /// The node that answers.
    pub(crate) fn node(&self) -> Option<NodeName> {
        self.client.connected().map(|node| node.name)
    }

    /// Asks; whatever is not an answer becomes a failure.
    pub(crate) async fn ask(&self, question: Question) -> Outcome<Reply> {
        match within(self.timeout, self.client.ask(question)).await? {
            Ok(Reply::Unavailable { why }) => Err(no_quorum(&why)),
            Ok(Reply::Denied { why }) => Err(denied(&why)),
            Ok(reply) => Ok(reply),
            Err(error) => Err(unanswered(&error)),
        }
    }

    /// Waits until a quorum has confirmed that what this node shows is current.
    pub(crate) async fn confirm(&self) -> Outcome<()> {
        tokio::select! {
            biased;
            confirmed = self.ask(Question::Confirm) => match confirmed {
                Ok(Reply::Confirmed) => Ok(()),
                Ok(other) => Err(unexpected(&other)),
                Err(failure) => Err(self.why_unconfirmed().await.unwrap_or(failure)),
            },
            failure = self.hopeless() => Err(failure),
        }
    }

    /// A node that has been without a quorum for a while is not likely to find one in the time
    /// that somebody waits for an answer.
    async fn hopeless(&self) -> Failure {
        if let Ok(sighting) = self.any_sighting().await
            && sighting.view == View::Unknown
            && sighting.age > LOST
            && sighting.age != Duration::MAX
        {
            return no_quorum(sighting.reason.as_deref().unwrap_or("no quorum was heard lately"));
        }
        std::future::pending().await
    }

    /// What this node says about its quorum.
    async fn why_unconfirmed(&self) -> Option<Failure> {
        let sighting = self.any_sighting().await.ok()?;
        sighting.reason.map(|why| no_quorum(&why))
    }

    /// What a node knows of its quorum shows in its view of any election.
    async fn any_sighting(&self) -> Outcome<Sighting> {
        let name = ElectionName::new("any");
        let election =
            name.map_err(|error| Failure::new(Exit::Tool, "a bug", error, "report it"))?;
        self.view(&election).await
    }

    /// Who leads, as this node knows it.
    pub(crate) async fn view(&self, election: &ElectionName) -> Outcome<Sighting> {
        match self.ask(Question::View { election: election.clone() }).await? {
            Reply::View(sighting) => Ok(sighting),
            other => Err(unexpected(&other)),
        }
    }

    /// Who leads, confirmed by a quorum.
    pub(crate) async fn confirmed_view(&self, election: &ElectionName) -> Outcome<Sighting> {
        self.confirm().await?;
        let sighting = self.view(election).await?;
        match sighting.view {
            View::Unknown => Err(no_quorum(sighting.reason.as_deref().unwrap_or("no quorum"))),
            View::Led(_) | View::Vacant => Ok(sighting),
        }
    }

    /// Elections by the beginning of their names.
    pub(crate) async fn list(&self, prefix: &str) -> Outcome<Vec<ElectionLine>> {
        match self.ask(Question::List { prefix: prefix.to_owned() }).await? {
            Reply::List(lines) => Ok(lines),
            other => Err(unexpected(&other)),
        }
    }

    /// One election in full.
    pub(crate) async fn detail(&self, election: &ElectionName) -> Outcome<ElectionDetail> {
        match self.ask(Question::Detail { election: election.clone() }).await? {
            Reply::Detail(Some(detail)) => Ok(*detail),
            Reply::Detail(None) => Err(no_election(election)),
            other => Err(unexpected(&other)),
        }
    }

    /// The nodes, as this node knows them.
    pub(crate) async fn cluster(&self) -> Outcome<ClusterView> {
        match self.ask(Question::Cluster).await? {
            Reply::Cluster(view) => Ok(*view),
            other => Err(unexpected(&other)),
        }
    }

    /// Has a wish carried out.
    pub(crate) async fn wish(&self, wish: Wish) -> Outcome<Done> {
        let removed = match &wish {
            Wish::Member(MemberWish::Remove { name }) => Some(name.clone()),
            _ => None,
        };
        match within(self.timeout, self.client.wish(wish)).await? {
            Ok(Done::Refused(refusal)) => match removed {
                Some(name) if self.is_gone(&name).await => Ok(Done::Done),
                _ => Err(refused(&refusal)),
            },
            Ok(outcome) => Ok(outcome),
            Err(error) => Err(self.with_reason(unanswered(&error)).await),
        }
    }

    /// Whether a node is no member. When the node that was asked is the one that goes, the
    /// answer may go with it, and the second attempt finds nothing left to do.
    async fn is_gone(&self, name: &NodeName) -> bool {
        if self.confirm().await.is_err() {
            return false;
        }
        let view = self.cluster().await;
        view.is_ok_and(|view| view.members.iter().all(|member| member.name != *name))
    }

    /// The node that took a wish and had no answer in time may know why.
    async fn with_reason(&self, failure: Failure) -> Failure {
        if failure.exit != Exit::Unavailable {
            return failure;
        }
        match tokio::time::timeout(NET, self.any_sighting()).await {
            Ok(Ok(Sighting { reason: Some(reason), .. })) => {
                Failure { why: format!("{}; {reason}", failure.why), ..failure }
            }
            _ => failure,
        }
    }

    /// Has a command carried out.
    pub(crate) async fn command(&self, command: Command) -> Outcome<Done> {
        self.wish(Wish::Command(command)).await
    }

    /// Follows elections.
    pub(crate) async fn watch(
        &self,
        elections: Vec<ElectionName>,
        prefix: Option<String>,
    ) -> Outcome<Watch> {
        let watch = within(self.timeout, self.client.watch(elections, prefix)).await?;
        watch.map_err(|error| unanswered(&error))
    }
}

/// The next change; none when the client has stopped. That no node was heard shows in the
/// pushes, too.
pub(crate) async fn next_push(watch: &mut Watch) -> Option<Push> {
    loop {
        match watch.next().await? {
            Watched::Push(push) => return Some(*push),
            Watched::Lost { why } => tracing::info!(%why, "no node is heard"),
        }
    }
}

/// Connects to the first of these that answers.
pub(crate) async fn connect(endpoints: Vec<Endpoint>, timeout: Duration) -> Outcome<Client> {
    let options = ClientOptions { timeout, ..ClientOptions::default() };
    within(timeout, Client::connect(endpoints, options)).await?.map_err(|error| unanswered(&error))
}

/// The client keeps its own deadline and says more when it passes; this is the net below it.
const NET: Duration = Duration::from_millis(500);

async fn within<T>(timeout: Duration, future: impl Future<Output = T>) -> Outcome<T> {
    tokio::time::timeout(timeout + NET, future).await.map_err(|_| {
        Failure::new(
            Exit::Unavailable,
            format!("no answer within {timeout:?}"),
            "the node that was asked is stopped, overloaded or cut off",
            "try again, or wait longer with --timeout",
        )
    })
}

/// What a failed question says.
pub(crate) fn unanswered(error: &ClientError) -> Failure {
    match error {
        ClientError::Url { .. } | ClientError::NoEndpoint => Failure::usage(
            "that does not say where a cluster is",
            error,
            "give --url tenure://HOST:PORT[,HOST:PORT...] with the addresses of some nodes",
        ),
        ClientError::Unreachable { .. } => Failure::new(
            Exit::Unavailable,
            "no node of the cluster answers",
            error,
            "see whether its nodes run: tenure dev status, or check the addresses in --url",
        ),
        ClientError::Rejected { .. } => Failure::new(
            Exit::Denied,
            "the node does not serve this client",
            error,
            "check --url, and that versions match: tenure version",
        ),
        ClientError::Refused { why } => denied(why),
        ClientError::Unavailable { why } => no_quorum(why),
        ClientError::Unknown { .. } | ClientError::Busy => Failure::new(
            Exit::Unavailable,
            "the cluster gave no answer in time",
            error,
            "a change that was asked for may have happened: tenure status tells; then try again",
        ),
        _ => Failure::new(
            Exit::Tool,
            "the cluster was not understood",
            error,
            "use the same version of tenure everywhere: tenure version, tenure cluster status",
        ),
    }
}

/// What a cluster without a quorum says.
pub(crate) fn no_quorum(why: &str) -> Failure {
    Failure::new(
        Exit::Unavailable,
        "no quorum stands behind an answer",
        why,
        "start more of its nodes; tenure leader ELECTION --all shows what each one believes",
    )
}

fn denied(why: &str) -> Failure {
    Failure::new(Exit::Denied, "the node refused the question", why, "ask for something else")
}

/// What an answer of the wrong kind says.
pub(crate) fn unexpected(reply: &Reply) -> Failure {
    Failure::new(
        Exit::Tool,
        "the node gave an answer that does not fit the question",
        format!("{reply:?}"),
        "use the same version of tenure everywhere: tenure version, tenure cluster status",
    )
}

/// What an election nobody ever contended for says.
pub(crate) fn no_election(election: &ElectionName) -> Failure {
    Failure::new(
        Exit::NotFound,
        format!("there is no election {election}"),
        "nobody ever contended for it, or it was forgotten",
        "tenure ls lists the elections there are",
    )
}

/// What the ledger's refusal says.
pub(crate) fn refused(refusal: &Refusal) -> Failure {
    let (exit, next) = match refusal {
        Refusal::NoElection { .. } => (Exit::NotFound, "tenure ls lists the elections there are"),
        Refusal::NoSuchCandidate { .. } => {
            (Exit::NotFound, "tenure status ELECTION lists the candidates in their order")
        }
        Refusal::Vacant { .. } => (Exit::No, "tenure status ELECTION says who waits"),
        Refusal::NoSuccessor { .. } | Refusal::NothingReserved { .. } => {
            (Exit::No, "start another candidate first: tenure campaign ELECTION")
        }
        Refusal::TokenChanged { .. } | Refusal::NotLeader { .. } | Refusal::Leads { .. } => {
            (Exit::Conflict, "look again: tenure leader ELECTION; then decide anew")
        }
        Refusal::DuplicateCandidate { .. } => {
            (Exit::Conflict, "give every process an id of its own with --id")
        }
        Refusal::Banned { .. } => (Exit::Denied, "wait for the ban to end"),
        Refusal::Limit { .. } => (Exit::Denied, "close what is not needed any more"),
        Refusal::NoSession { .. }
        | Refusal::SessionUsed { .. }
        | Refusal::Overtaken { .. }
        | Refusal::NotCandidate { .. } => (Exit::Conflict, "start the process again"),
        Refusal::Unsupported { .. } => {
            (Exit::Usage, "use a quorum of Tenure nodes: tenure dev shows one")
        }
        Refusal::Member { .. } => (Exit::Conflict, "tenure cluster status shows the nodes"),
        Refusal::Later { .. } => (Exit::Unavailable, "ask again in a moment"),
    };
    Failure::new(exit, "nothing was changed", refusal, next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tenure_core::{CandidateId, Token};

    #[test]
    fn refusals_end_with_their_exit_codes() {
        let election = ElectionName::new("e").unwrap();
        let candidate = CandidateId::new("c").unwrap();
        let of = |refusal: Refusal| refused(&refusal).exit;
        assert_eq!(of(Refusal::Vacant { election: election.clone() }), Exit::No);
        assert_eq!(
            of(Refusal::TokenChanged { expected: Token::new(1), current: None }),
            Exit::Conflict
        );
        assert_eq!(of(Refusal::NoElection { election: election.clone() }), Exit::NotFound);
        assert_eq!(of(Refusal::Banned { election, candidate }), Exit::Denied);
    }

    #[test]
    fn a_refusal_is_said_in_full() {
        let refusal =
            Refusal::TokenChanged { expected: Token::new(7), current: Some(Token::new(9)) };
        insta::assert_snapshot!(refused(&refusal).human(false), @r"
        error: nothing was changed
          why: the condition on token 7 does not hold: token 9 does
          next: look again: tenure leader ELECTION; then decide anew
        ");
    }
}
