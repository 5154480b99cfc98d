//! Where an election is kept: a URL, a local cluster, a quorum of which this process is a
//! member, or files of this user on this machine.

use std::{
    net::{IpAddr, ToSocketAddrs, UdpSocket},
    path::PathBuf,
};

use tenure::{Elector, ElectorBuilder, Error};
use tenure_core::{NodeName, Zone, timing::Drift};
use tenure_quorum::{
    client::Endpoint,
    node::{Node, NodeConfig, NodeError, Start},
};

use crate::{
    args::{host, is_loopback},
    ask,
    cli::Global,
    command::{node::Timing, run::Member},
    discover,
    error::{Exit, Failure, Outcome},
    realtime::First,
};

/// Where an election is kept.
#[derive(Debug, Clone)]
pub(crate) enum Store {
    /// Wherever this URL says.
    Url(String),
    /// A cluster on this machine, by its directory.
    Local(Vec<Endpoint>),
    /// In files, for this user on this machine.
    Files(String),
    /// A quorum of which this process is a member.
    Quorum(Box<Membership>),
}

/// This process as a member of a quorum.
#[derive(Debug, Clone)]
pub(crate) struct Membership {
    name: NodeName,
    data_dir: PathBuf,
    listen: String,
    advertise: String,
    peers: Vec<(NodeName, String)>,
    zone: Option<Zone>,
}

/// Whether anything says where the election is kept.
pub(crate) fn is_configured(member: &Member, global: &Global) -> bool {
    global.url.is_some() || global.dir.is_some() || !member.peers.is_empty()
}

/// Finds out what the command line means.
pub(crate) fn find(member: &Member, global: &Global) -> Outcome<Store> {
    if !member.peers.is_empty() {
        return membership(member).map(|member| Store::Quorum(Box::new(member)));
    }
    if let Some(url) = &global.url {
        return Ok(Store::Url(url.clone()));
    }
    if global.dir.is_some() {
        return Ok(Store::Local(discover::cluster(global)?.endpoints));
    }
    Ok(Store::Files(format!("file://{}", discover::elections_dir().display())))
}

impl Store {
    /// In a few words, without secrets.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Url(url) => without_secrets(url),
            Self::Local(endpoints) => format!("the local cluster, {} endpoints", endpoints.len()),
            Self::Files(url) => format!("{url} (this machine only)"),
            Self::Quorum(member) => format!(
                "a quorum of {} processes, of which this is {}",
                member.peers.len(),
                member.name
            ),
        }
    }

    /// For the environment of the command.
    pub(crate) fn url(&self) -> Option<String> {
        match self {
            Self::Url(url) | Self::Files(url) => Some(without_secrets(url)),
            Self::Local(endpoints) => endpoints.iter().find_map(|endpoint| match endpoint {
                Endpoint::Tcp(address) => Some(format!("tenure://{address}")),
                Endpoint::Unix(_) => None,
            }),
            Self::Quorum(member) => Some(format!("tenure://{}", member.advertise)),
        }
    }

    /// Connects; a member of a quorum starts its node, which must be kept.
    pub(crate) async fn connect(
        &self,
        how: ElectorBuilder,
        timing: Timing,
        drift: Drift,
        realtime: Option<First>,
    ) -> Outcome<(Elector, Option<Node>)> {
        // The command and its children may outlive the process that holds the lease by a moment.
        let how = how.local_proof(false);
        let elector = match self {
            Self::Url(url) | Self::Files(url) => how.connect(url).await,
            Self::Local(endpoints) => how.reach(endpoints.clone()).await,
            Self::Quorum(member) => {
                let node = Node::start(member.config(timing, drift, realtime));
                let node = node.await.map_err(|error| no_node(&error))?;
                let elector = how.on_node(&node).await.map_err(|error| self.failed(&error))?;
                return Ok((elector, Some(node)));
            }
        };
        Ok((elector.map_err(|error| self.failed(&error))?, None))
    }

    /// Why it cannot be contended there.
    pub(crate) fn failed(&self, error: &Error) -> Failure {
        match error {
            Error::Refused(refusal) => ask::refused(refusal),
            Error::Client(error) => ask::unanswered(error),
            _ => Failure::new(
                Exit::Tool,
                format!("cannot contend through {}", self.describe()),
                error,
                "check --url, or give --peers",
            ),
        }
    }
}

impl Membership {
    fn config(&self, timing: Timing, drift: Drift, realtime: Option<First>) -> NodeConfig {
        let start = Start::Found { peers: self.peers.clone(), cluster: None };
        let (name, dir, listen) = (self.name.clone(), self.data_dir.clone(), self.listen.clone());
        NodeConfig {
            advertise: Some(self.advertise.clone()),
            heartbeat: timing.heartbeat,
            election_timeout: timing.election_timeout,
            drift,
            on_thread_start: realtime,
            voters: self.peers.len().clamp(1, 7),
            zone: self.zone.clone(),
            ..NodeConfig::new(name, dir, listen, start)
        }
    }
}

fn membership(member: &Member) -> Outcome<Membership> {
    let name = match &member.node_id {
        Some(name) => name.clone(),
        None => own_name(&member.peers)?,
    };
    let Some((_, advertise)) = member.peers.iter().find(|(peer, _)| *peer == name) else {
        return Err(Failure::usage(
            format!("{name} is not in --peers"),
            "each process must be in the list that all of them are given",
            "give the name of one of the peers with --node-id",
        ));
    };
    let listen = member.node_listen.clone().unwrap_or_else(|| advertise.clone());
    for address in [&listen, advertise] {
        if !member.insecure_listen && !is_loopback(address) {
            return Err(Failure::usage(
                format!("{address} can be reached from other machines"),
                "connections are neither encrypted nor authenticated yet: whoever reaches this \
                 process could take over every election",
                "on a network where you trust everybody, add --insecure-listen",
            ));
        }
    }
    let data_dir = member.data_dir.clone().unwrap_or_else(|| discover::default_data_dir(&name));
    let (advertise, peers) = (advertise.clone(), member.peers.clone());
    let zone = member.zone.clone();
    Ok(Membership { name, data_dir, listen, advertise, peers, zone })
}

/// Which of the peers this process is: three hosts are to need three identical command lines.
fn own_name(peers: &[(NodeName, String)]) -> Outcome<NodeName> {
    let host_name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if let Some((name, _)) = peers.iter().find(|(name, _)| name.as_str() == host_name) {
        return Ok(name.clone());
    }
    let mut here = peers.iter().filter(|(_, address)| is_here(address));
    match (here.next(), here.next()) {
        (Some((name, _)), None) => Ok(name.clone()),
        (first, _) => Err(Failure::usage(
            "it is not clear which of the peers this process is",
            match first {
                Some(_) => String::from("several of their addresses are on this machine"),
                None => format!("none is called {host_name}, and no address is on this machine"),
            },
            "give its name with --node-id",
        )),
    }
}

fn is_here(address: &str) -> bool {
    let ours = |ip: IpAddr| UdpSocket::bind((ip, 0)).is_ok();
    let resolved = (host(address), 0).to_socket_addrs();
    resolved.is_ok_and(|mut all| all.any(|address| ours(address.ip())))
}

/// A URL without user, password and query, which may hold secrets.
fn without_secrets(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = match rest.split_once('/') {
        Some((authority, path)) => (authority, format!("/{path}")),
        None => (rest, String::new()),
    };
    let hosts: Vec<_> =
        authority.split(',').map(|host| host.rsplit('@').next().unwrap_or(host)).collect();
    format!("{scheme}://{}{path}", hosts.join(","))
}

fn no_node(error: &NodeError) -> Failure {
    Failure::new(
        Exit::Tool,
        "the member of the quorum in this process cannot start",
        error,
        "check --peers, --node-id and --data-dir; tenure node --help says what they mean",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_leave_a_url() {
        assert_eq!(without_secrets("redis://me:secret@h:1,h2:2/0?token=x#y"), "redis://h:1,h2:2/0");
        assert_eq!(without_secrets("postgres://u:p@h/db"), "postgres://h/db");
        assert_eq!(without_secrets("file:///a/b"), "file:///a/b");
    }

    #[test]
    fn a_peer_is_found_by_its_address() {
        let peer = |name: &str, address: &str| (NodeName::new(name).unwrap(), address.to_owned());
        // TEST-NET-2 is on nobody's machine.
        let peers =
            [peer("a", "198.51.100.1:1"), peer("b", "127.0.0.1:1"), peer("c", "198.51.100.2:1")];
        assert_eq!(own_name(&peers).unwrap().as_str(), "b");
        let error = own_name(&[peer("a", "127.0.0.1:1"), peer("b", "127.0.0.1:2")]).unwrap_err();
        assert!(error.why.contains("several"), "{error:?}");
        assert!(own_name(&[peer("a", "198.51.100.1:1")]).unwrap_err().next.contains("--node-id"));
    }
}
