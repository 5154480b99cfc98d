//! A node of the quorum inside this process: disk, sockets and clocks around a replica.
//!
//! [`Node::start`] opens the data directory, binds the address, founds or joins a cluster and
//! then runs on a thread of its own, so that a blocked application cannot hold up the quorum.

mod calm;
mod config;
mod connections;
mod disk;
mod driver;
mod error;
mod identity;
mod member;
mod reads;
mod rights;
mod subscriptions;

use std::thread::JoinHandle;

use tenure_core::{ClusterId, Incarnation, NodeId};
use tenure_replica::RaftRole;
use tokio::sync::{
    mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    oneshot,
};

pub use config::{NodeConfig, Start};
pub use error::NodeError;

use crate::{
    client::Client,
    transport::{LocalClient, local_pair},
};
use connections::Connections;
use driver::{About, Control, Driver};
use identity::Prepared;
use member::{Ended, Enrolled, Member};

/// What a node tells the program that runs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Its part in the Raft group, the term or the Raft leader changed.
    Role {
        /// Its part.
        role: RaftRole,
        /// The term.
        term: u64,
        /// Who leads the Raft group.
        leader: Option<NodeId>,
    },
    /// It has stopped. Without a reason it was asked to.
    Stopped {
        /// Why, and what to do next.
        why: Option<String>,
    },
}

/// A running node. Dropping it stops the node.
#[derive(Debug)]
pub struct Node {
    id: NodeId,
    cluster: ClusterId,
    address: String,
    socket: Option<String>,
    incarnation: Incarnation,
    control: UnboundedSender<Control>,
    notices: Option<UnboundedReceiver<Notice>>,
    thread: Option<JoinHandle<()>>,
}

impl Node {
    /// Starts a node. Returns once it listens; whether it has found its quorum shows in its
    /// notices. Joining a cluster waits for the cluster to take it in.
    ///
    /// # Errors
    /// [`NodeError`] when the data directory, the address or the cluster cannot be used.
    pub async fn start(config: NodeConfig) -> Result<Self, NodeError> {
        let (notify, notices) = unbounded_channel();
        let (control, ordered) = unbounded_channel();
        let (ready, started) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name(String::from("tenure-node"))
            .spawn(move || {
                let first = config.on_thread_start.map_or(Ok(()), |first| first());
                let build = || tokio::runtime::Builder::new_current_thread().enable_all().build();
                match first.and_then(|()| build()) {
                    Ok(runtime) => runtime.block_on(live(config, notify, ready, ordered)),
                    Err(source) => {
                        let _ = ready.send(Err(NodeError::Thread { source }));
                    }
                }
            })
            .map_err(|source| NodeError::Thread { source })?;
        let about = started.await.map_err(|_| NodeError::Died)??;
        Ok(Self {
            id: about.id,
            cluster: about.cluster,
            incarnation: about.incarnation,
            address: about.address,
            socket: about.socket,
            control,
            notices: Some(notices),
            thread: Some(thread),
        })
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// Its cluster.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// Where it listens, with the port that was really taken.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its unix socket.
    #[must_use]
    pub fn socket(&self) -> Option<&str> {
        self.socket.as_deref()
    }

    /// What it tells; can be taken once.
    pub fn notices(&mut self) -> Option<UnboundedReceiver<Notice>> {
        self.notices.take()
    }

    /// A client in this process: no socket in between. Needs a runtime.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::local(self.local_end())
    }

    /// The bare end of a connection in this process, for a client that is to live on another
    /// runtime. What it holds dies with the process, and the other nodes on this machine can
    /// prove that.
    #[must_use]
    pub fn local_end(&self) -> LocalClient {
        let (here, ends) = local_pair(self.incarnation);
        // A node that has stopped answers nothing; the client finds out by itself.
        let _ = self.control.send(Control::Attach(ends));
        here
    }

    /// Stops the node and waits for its last write. One that leads the quorum hands it over first,
    /// which takes an election timeout at most.
    pub fn stop(mut self) {
        self.shut_down();
    }

    fn shut_down(&mut self) {
        let _ = self.control.send(Control::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.shut_down();
    }
}

/// The life of a node, on its own thread.
async fn live(
    config: NodeConfig,
    notify: UnboundedSender<Notice>,
    ready: oneshot::Sender<Result<About, NodeError>>,
    mut ordered: UnboundedReceiver<Control>,
) {
    let life = match begin(config, &notify).await {
        Ok(life) => life,
        // Whoever asked for the node may have gone: nobody is left to tell then.
        Err(error) => {
            let _ = ready.send(Err(error));
            return;
        }
    };
    let about = match &life {
        Life::Replica(driver) => driver.about(),
        Life::Member(member) => member.about(),
    };
    if ready.send(Ok(about)).is_err() {
        return;
    }
    let why = match life {
        Life::Replica(driver) => return driver.run(&mut ordered).await,
        Life::Member(member) => match member.run(&mut ordered).await {
            Ended::Stopped(why) => why,
            Ended::Enrolled(enrolled) => match become_replica(*enrolled, &notify).await {
                Ok(driver) => return driver.run(&mut ordered).await,
                Err(error) => Some(error.to_string()),
            },
        },
    };
    let _ = notify.send(Notice::Stopped { why });
}

/// With a log or without.
enum Life {
    Replica(Box<Driver>),
    Member(Box<Member>),
}

async fn begin(config: NodeConfig, notify: &UnboundedSender<Notice>) -> Result<Life, NodeError> {
    let Prepared { joined, memory, listener } = identity::prepare(config).await?;
    let connections = Connections::open(listener, &joined.config, &joined.identity)?;
    Ok(match memory {
        Some(memory) => {
            let driver = Driver::start(joined, memory, connections, notify.clone())?;
            Life::Replica(Box::new(driver))
        }
        None => {
            let role = RaftRole::Member;
            let _ = notify.send(Notice::Role { role, term: 0, leader: None });
            Life::Member(Box::new(Member::start(joined, connections)?))
        }
    })
}

async fn become_replica(
    enrolled: Enrolled,
    notify: &UnboundedSender<Notice>,
) -> Result<Box<Driver>, NodeError> {
    tracing::info!("this node keeps the log from now on");
    let Enrolled { joined, connections, open } = enrolled;
    let memory = identity::enrol(&joined).await?;
    connections.transport.take_nodes(true);
    let mut driver = Driver::start(joined, memory, connections, notify.clone())?;
    driver.take_over(open);
    Ok(Box::new(driver))
}
