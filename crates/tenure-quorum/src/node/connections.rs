//! What a node has to do with the outside, whether it keeps the log or not.

use std::collections::BTreeMap;

use tenure_core::Incarnation;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::{NodeConfig, NodeError, driver::About, subscriptions::Subscriptions};
use crate::{
    storage,
    transport::{
        ClientSender, Identity, Listener, MemberEnd, Settings, Transport, TransportEvent,
        draw_incarnation, this_host,
    },
};

/// A connected client.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) process: Incarnation,
    /// The node that it is, when it is a member that speaks for others, too.
    pub(super) member: Option<MemberEnd>,
    pub(super) to: ClientSender,
}

/// The sockets of a node and who is connected.
#[derive(Debug)]
pub(super) struct Connections {
    pub(super) transport: Transport,
    pub(super) events: UnboundedReceiver<TransportEvent>,
    pub(super) guests: BTreeMap<u64, Guest>,
    pub(super) subscriptions: Subscriptions,
}

impl Connections {
    /// Begins to serve what the listener takes.
    pub(super) fn open(
        listener: Listener,
        config: &NodeConfig,
        identity: &storage::Identity,
    ) -> Result<Self, NodeError> {
        let incarnation = draw_incarnation().map_err(|source| NodeError::Thread { source })?;
        let settings = Settings {
            limit: config.election_timeout.max(config.heartbeat * 10),
            local_proof: config.local_proof,
            ..Settings::default()
        };
        let here = Identity {
            cluster: identity.cluster,
            id: identity.node,
            name: identity.name.clone(),
            directory: identity.directory,
            incarnation,
            host: this_host(),
        };
        let (happened, events) = unbounded_channel();
        let transport = Transport::start(listener, here, settings, happened)
            .map_err(|source| NodeError::Thread { source })?;
        let (guests, subscriptions) = (BTreeMap::new(), Subscriptions::default());
        Ok(Self { transport, events, guests, subscriptions })
    }

    pub(super) fn about(&self, address: &str) -> About {
        let identity = self.transport.identity();
        About {
            id: identity.id,
            cluster: identity.cluster,
            address: address.to_owned(),
            socket: self.transport.socket().map(str::to_owned),
            incarnation: identity.incarnation,
        }
    }
}
