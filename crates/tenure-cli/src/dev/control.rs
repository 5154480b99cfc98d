//! Requests of other terminals to the supervisor: one line of JSON each way over a unix socket.

use std::{io, path::Path, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tenure_core::{CandidateId, NodeName, Token};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::{mpsc::UnboundedSender, oneshot},
};

use super::{home::control_socket_of, supervisor::Input};
use crate::error::{Exit, Failure, Outcome};

/// Longest line that is read.
const LONGEST: u64 = 1 << 20;

/// Which node is meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    /// The node that leads the election.
    Leader,
    /// The node that leads the quorum.
    QuorumLeader,
    /// The node of this name.
    Node(NodeName),
}

/// `leader`, `quorum-leader`, `n3` or just `3`.
pub(crate) fn target(text: &str) -> Result<Target, String> {
    match text {
        "leader" => Ok(Target::Leader),
        "quorum-leader" => Ok(Target::QuorumLeader),
        other => node(other).map(Target::Node),
    }
}

/// `n3` or just `3`.
pub(crate) fn node(text: &str) -> Result<NodeName, String> {
    let number = text.chars().all(|c| c.is_ascii_digit()) && !text.is_empty();
    let name = if number { format!("n{text}") } else { text.to_owned() };
    NodeName::new(name).map_err(|error| error.to_string())
}

/// What is asked of the supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(crate) enum Request {
    /// How things stand.
    Status,
    /// One more node.
    Add,
    /// A node leaves for good.
    Remove {
        /// The node.
        node: NodeName,
    },
    /// SIGKILL.
    Kill {
        /// The node.
        target: Target,
    },
    /// SIGSTOP.
    Pause {
        /// The node.
        target: Target,
    },
    /// SIGCONT.
    Resume {
        /// The node.
        node: NodeName,
    },
    /// Start a node that is down; one that runs is killed first.
    Restart {
        /// The node.
        node: NodeName,
    },
    /// The leader steps down.
    Resign,
    /// The leader hands over.
    Transfer {
        /// To whom; without a name, to the next node that runs.
        to: Option<CandidateId>,
    },
    /// All nodes end, and the supervisor, too.
    Down,
}

/// A leader and its token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LeaderReport {
    /// Who.
    pub(crate) id: CandidateId,
    /// With which token.
    pub(crate) token: Token,
}

/// What a request did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Change {
    /// What was done, in one word.
    pub(crate) did: String,
    /// To which node.
    pub(crate) node: Option<NodeName>,
    /// To which process.
    pub(crate) pid: Option<u32>,
    /// Who leads the election now.
    pub(crate) leader: Option<LeaderReport>,
    /// Who leads the quorum now.
    pub(crate) quorum_leader: Option<NodeName>,
    /// Milliseconds until the first node showed the new leader; none when it did not change.
    pub(crate) took_ms: Option<f64>,
    /// Milliseconds until the last live node showed it.
    pub(crate) all_ms: Option<f64>,
    /// Milliseconds until the quorum had a new leader; none when it did not change.
    pub(crate) quorum_ms: Option<f64>,
    /// Why something did not happen that might be expected.
    pub(crate) note: Option<String>,
}

/// One node in a status.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct NodeReport {
    /// Its name.
    pub(crate) node: NodeName,
    /// Its process.
    pub(crate) pid: Option<u32>,
    /// `starting`, `running`, `paused` or `down`.
    pub(crate) state: String,
    /// Why it is down.
    pub(crate) status: Option<String>,
    /// Its address.
    pub(crate) addr: String,
    /// Its unix socket.
    pub(crate) socket: Option<String>,
    /// Its part in the Raft group.
    pub(crate) role: Option<String>,
    /// Its view of the election.
    pub(crate) view: Option<String>,
    /// The leader it shows.
    pub(crate) leader: Option<LeaderReport>,
}

/// One past hand-over in a status.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct HandoverReport {
    /// Who led before.
    pub(crate) from: Option<CandidateId>,
    /// Who led after.
    pub(crate) to: CandidateId,
    /// With which token.
    pub(crate) token: Token,
    /// Why.
    pub(crate) cause: String,
    /// Milliseconds until the first node showed it.
    pub(crate) took_ms: Option<f64>,
    /// Milliseconds until the last live node showed it.
    pub(crate) all_ms: Option<f64>,
}

/// How things stand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Status {
    /// The supervisor.
    pub(crate) pid: u32,
    /// The directory.
    pub(crate) dir: String,
    /// The election.
    pub(crate) election: String,
    /// Length of leases.
    pub(crate) ttl_ms: u64,
    /// Who leads the election.
    pub(crate) leader: Option<LeaderReport>,
    /// Who leads the quorum.
    pub(crate) quorum_leader: Option<NodeName>,
    /// The nodes.
    pub(crate) nodes: Vec<NodeReport>,
    /// Past hand-overs, the latest last.
    pub(crate) handovers: Vec<HandoverReport>,
}

/// What the supervisor answers.
pub(crate) type Answer = Outcome<Value>;

/// Takes requests until the process ends.
pub(super) fn serve(path: &Path, inputs: UnboundedSender<Input>) -> io::Result<()> {
    // The directory is locked: whoever made this file is gone.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, inputs.clone()));
        }
    });
    Ok(())
}

async fn answer(mut stream: UnixStream, inputs: UnboundedSender<Input>) {
    let (read, mut write) = stream.split();
    let mut line = String::new();
    let read = BufReader::new(read.take(LONGEST)).read_line(&mut line).await;
    if read.is_err() {
        return;
    }
    let answer = match serde_json::from_str(&line) {
        Ok(request) => {
            let (reply, answered) = oneshot::channel();
            let _ = inputs.send(Input::Request { request, reply });
            answered.await.unwrap_or_else(|_| Err(gone()))
        }
        Err(error) => Err(Failure::usage("not a request", error, "use the same version of tenure")),
    };
    let line = match answer {
        Ok(value) => serde_json::json!({ "ok": value }).to_string(),
        Err(failure) => failure.json(),
    };
    let _ = write.write_all((line + "\n").as_bytes()).await;
    let _ = write.shutdown().await;
}

fn gone() -> Failure {
    Failure::new(Exit::Unavailable, "no answer", "the local cluster is ending", "tenure dev")
}

/// Asks the supervisor of a directory.
pub(crate) async fn call(dir: &Path, request: &Request, timeout: Duration) -> Answer {
    let not_running = || {
        Failure::new(
            Exit::NotFound,
            "no local cluster is running",
            format!("nobody looks after {}", dir.display()),
            "start one: tenure dev (or name its directory with --dir)",
        )
    };
    let (path, _handle) = control_socket_of(dir).map_err(|_| not_running())?;
    let exchange = async {
        let mut stream = UnixStream::connect(&path).await?;
        let line = serde_json::to_string(request)? + "\n";
        stream.write_all(line.as_bytes()).await?;
        let mut answer = String::new();
        stream.take(LONGEST).read_to_string(&mut answer).await?;
        Ok::<_, io::Error>(answer)
    };
    let answer = match tokio::time::timeout(timeout, exchange).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
            let what = "the local cluster belongs to somebody else";
            return Err(Failure::io(
                what,
                &error,
                "use a cluster of your own: tenure dev --dir DIR",
            ));
        }
        Ok(Err(_)) => return Err(not_running()),
        Err(_) => {
            let what = format!("the local cluster gave no answer within {timeout:?}");
            let next = "look at the terminal of tenure dev, or wait longer with --timeout";
            return Err(Failure::new(Exit::Unavailable, what, "it is busy or stopped", next));
        }
    };
    if let Some(failure) = Failure::from_json(answer.trim()) {
        return Err(failure);
    }
    let mut value: Value = serde_json::from_str(&answer).map_err(|_| gone())?;
    Ok(value.get_mut("ok").map(Value::take).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_names_numbers_or_parts() {
        assert_eq!(target("leader"), Ok(Target::Leader));
        assert_eq!(target("quorum-leader"), Ok(Target::QuorumLeader));
        let n3 = NodeName::new("n3").unwrap();
        assert_eq!(target("n3"), Ok(Target::Node(n3.clone())));
        assert_eq!(target("3"), Ok(Target::Node(n3)));
        assert!(target("").is_err());
        assert!(target("n 3").is_err());
    }

    #[test]
    fn requests_are_one_line() {
        let request = Request::Kill { target: Target::Leader };
        let line = serde_json::to_string(&request).unwrap();
        assert_eq!(line, r#"{"do":"kill","target":"leader"}"#);
        assert_eq!(serde_json::from_str::<Request>(&line).unwrap(), request);
    }

    #[tokio::test]
    async fn nobody_there_is_said_so() {
        let dir = tempfile::tempdir().unwrap();
        let answer = call(dir.path(), &Request::Status, Duration::from_secs(1)).await;
        assert_eq!(answer.unwrap_err().exit, Exit::NotFound);
    }

    #[tokio::test]
    async fn a_request_is_answered_over_the_socket() {
        let dir = tempfile::tempdir().unwrap();
        let (path, _handle) = control_socket_of(dir.path()).unwrap();
        let (inputs, mut arrived) = tokio::sync::mpsc::unbounded_channel();
        serve(&path, inputs).unwrap();
        let ask = call(dir.path(), &Request::Resign, Duration::from_secs(1));
        let serve = async {
            match arrived.recv().await {
                Some(Input::Request { request: Request::Resign, reply }) => {
                    reply.send(Err(Failure::new(Exit::No, "a", "b", "c"))).unwrap();
                }
                other => panic!("{other:?}"),
            }
        };
        let (answer, ()) = tokio::join!(ask, serve);
        assert_eq!(answer.unwrap_err(), Failure::new(Exit::No, "a", "b", "c"));
    }
}
