//! Who is let in, and who is here.

use std::{
    collections::BTreeMap,
    sync::{Arc, MutexGuard, PoisonError, atomic::Ordering},
};

use tenure_core::{ClusterId, Incarnation, NodeId, NodeName, WallTime, ledger::Members};

use super::{
    conn::Conn,
    event::TransportEvent,
    host::{draw_incarnation, this_host},
    hub::Hub,
};
use crate::wire::{Dialler, Hello, Host, PROTOCOL, Rejected, Welcome};

/// Who this node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its id.
    pub id: NodeId,
    /// Its name.
    pub name: NodeName,
    /// Random number of its data directory.
    pub directory: u64,
    /// This start of its process.
    pub incarnation: Incarnation,
    /// Where it runs.
    pub host: Host,
}

impl Identity {
    /// The owner of a data directory, as this start of this process.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn of(owner: &crate::storage::Identity) -> std::io::Result<Self> {
        Ok(Self {
            cluster: owner.cluster,
            id: owner.node,
            name: owner.name.clone(),
            directory: owner.directory,
            incarnation: draw_incarnation()?,
            host: this_host(),
        })
    }

    /// What this node says first when it dials another.
    pub(crate) fn hello(&self) -> Hello {
        let Self { id, directory, .. } = *self;
        Hello {
            protocol: PROTOCOL,
            software: crate::SOFTWARE.to_owned(),
            cluster: Some(self.cluster),
            dialler: Dialler::Node { id, name: self.name.clone(), directory },
            incarnation: self.incarnation,
            host: self.host.clone(),
        }
    }

    /// What this node answers; `socket` is where local processes find it.
    pub(crate) fn welcome(&self, socket: Option<&str>) -> Welcome {
        Welcome {
            protocol: PROTOCOL,
            software: crate::SOFTWARE.to_owned(),
            cluster: self.cluster,
            id: self.id,
            name: self.name.clone(),
            incarnation: self.incarnation,
            host: self.host.clone(),
            socket: socket.map(str::to_owned),
        }
    }

    /// Whether a stranger speaks our language and means our cluster.
    pub(crate) fn check(&self, hello: &Hello) -> Result<(), Rejected> {
        if hello.protocol != PROTOCOL {
            return Err(Rejected::Protocol { ours: PROTOCOL, theirs: hello.protocol });
        }
        match hello.cluster {
            Some(theirs) if theirs != self.cluster => {
                Err(Rejected::Cluster { ours: self.cluster, theirs })
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// What the ledger of this node says about the nodes.
#[derive(Debug, Default)]
pub(crate) struct Roll {
    /// Members with the data directory they are known with.
    members: BTreeMap<NodeId, Option<u64>>,
    /// Ids from here on were never used, as far as this node knows.
    next: u64,
}

impl Roll {
    pub(crate) fn of(members: &Members) -> Self {
        Self {
            members: members.iter().map(|(id, member)| (id, member.directory)).collect(),
            next: members.next_id().get(),
        }
    }

    /// An id that this node has never heard of may be a member that was added while it was
    /// away; it is let in, or this node could not learn of it from that very member. An id that
    /// was used and is no member was removed.
    fn check(&self, id: NodeId, name: &NodeName, directory: u64) -> Result<(), Rejected> {
        match self.members.get(&id) {
            Some(Some(known)) if *known != directory => {
                Err(Rejected::Directory { id, name: name.clone() })
            }
            Some(_) => Ok(()),
            None if id.get() < self.next => Err(Rejected::NotMember { id }),
            None => Ok(()),
        }
    }

    fn removed(&self, id: NodeId) -> bool {
        id.get() < self.next && !self.members.contains_key(&id)
    }
}

/// One process of another node, with all connections with it.
#[derive(Debug)]
struct Presence {
    incarnation: Incarnation,
    conns: BTreeMap<u64, (Arc<Conn>, bool)>,
    announced: bool,
    proven: bool,
}

/// Who is connected.
#[derive(Debug, Default)]
pub(crate) struct Room {
    pub(crate) roll: Roll,
    peers: BTreeMap<NodeId, Presence>,
    clients: u32,
}

impl Hub {
    fn room(&self) -> MutexGuard<'_, Room> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The members as the ledger shows them now. Connections of removed nodes are closed.
    pub(crate) fn set_roll(&self, roll: Roll) {
        let mut room = self.room();
        for (&id, presence) in &room.peers {
            if roll.removed(id) {
                presence.conns.values().for_each(|(conn, _)| conn.close());
            }
        }
        room.roll = roll;
    }

    /// Whether this node would see a proof of that node's death.
    pub(crate) fn proves(&self, id: NodeId) -> bool {
        self.room().peers.get(&id).is_some_and(|it| it.conns.values().any(|(_, proof)| *proof))
    }

    /// Whether a node is connected, in whichever direction.
    pub(crate) fn is_here(&self, id: NodeId) -> bool {
        self.room().peers.get(&id).is_some_and(|presence| presence.announced)
    }

    /// Whether a node that dials may come in.
    pub(crate) fn check_node(
        &self,
        id: NodeId,
        name: &NodeName,
        directory: u64,
    ) -> Result<(), Rejected> {
        if id == self.identity.id {
            return Err(Rejected::Duplicate { id });
        }
        if !self.takes_nodes.load(Ordering::Relaxed) {
            return Err(Rejected::NoLog { name: self.identity.name.clone() });
        }
        self.room().roll.check(id, name, directory)
    }

    /// Notes a connection with a node; an error when another process with its id is here.
    pub(crate) fn enter(
        self: &Arc<Self>,
        id: NodeId,
        incarnation: Incarnation,
        conn: &Arc<Conn>,
        proof: bool,
    ) -> Result<Present, Rejected> {
        let key = self.next_key();
        let mut room = self.room();
        let presence = room.peers.entry(id).or_insert_with(|| Presence {
            incarnation,
            conns: BTreeMap::new(),
            announced: false,
            proven: false,
        });
        if presence.incarnation != incarnation {
            return Err(Rejected::Duplicate { id });
        }
        presence.conns.insert(key, (conn.clone(), proof));
        Ok(Present { hub: self.clone(), id, incarnation, key })
    }

    /// Notes a client; an error when there are too many.
    pub(crate) fn enter_client(self: &Arc<Self>) -> Result<PresentClient, Rejected> {
        let max = self.settings.max_clients;
        let mut room = self.room();
        if room.clients >= max {
            return Err(Rejected::Full { max });
        }
        room.clients += 1;
        drop(room);
        Ok(PresentClient { hub: self.clone(), key: self.next_key() })
    }
}

/// A connection with a node, as long as this value lives.
#[derive(Debug)]
pub(crate) struct Present {
    hub: Arc<Hub>,
    pub(crate) id: NodeId,
    pub(crate) incarnation: Incarnation,
    key: u64,
}

impl Present {
    /// The handshake is over: the driver is told when this is the first connection.
    pub(crate) fn announce(&self) {
        let Self { id, incarnation, .. } = *self;
        let mut room = self.hub.room();
        if let Some(presence) = room.peers.get_mut(&id)
            && !presence.announced
        {
            presence.announced = true;
            self.hub.tell(TransportEvent::PeerUp { id, incarnation });
            self.hub.arrivals.notify_waiters();
        }
    }

    /// The process is dead: all its connections end, also those that a child of it holds open.
    pub(crate) fn died(&self, observed: WallTime) {
        self.hub.tell(TransportEvent::Died { process: self.incarnation, observed });
        if let Some(presence) = self.hub.room().peers.get_mut(&self.id) {
            presence.proven = true;
            presence.conns.values().for_each(|(conn, _)| conn.close());
        }
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        let Self { id, incarnation, key, .. } = *self;
        let mut room = self.hub.room();
        let Some(presence) = room.peers.get_mut(&id) else { return };
        presence.conns.remove(&key);
        if presence.conns.is_empty() {
            let Presence { announced, proven, .. } = *presence;
            room.peers.remove(&id);
            if announced {
                self.hub.tell(TransportEvent::PeerDown { id, incarnation, proven });
            }
        }
    }
}

/// A client's connection, as long as this value lives.
#[derive(Debug)]
pub(crate) struct PresentClient {
    hub: Arc<Hub>,
    pub(crate) key: u64,
}

impl Drop for PresentClient {
    fn drop(&mut self) {
        let mut room = self.hub.room();
        room.clients = room.clients.saturating_sub(1);
    }
}
