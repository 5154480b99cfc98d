//! Whose directory it is: founding a cluster, joining one, or coming back.

use core::time::Duration;
use tenure_core::{
    ClusterId, NodeId, NodeName,
    ledger::{Ledger, Members, Outcome, Role},
};
use tenure_replica::{MemberWish, Restored, Wish};

use super::{NodeConfig, NodeError, Start};
use crate::{
    client::{Client, ClientOptions, Endpoint},
    storage::{DataDir, Expectation, Identity, Storage},
    transport::Listener,
    wire::{ClusterView, MemberView, Question, Reply},
};

/// A node with its place in a cluster.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) config: NodeConfig,
    pub(super) identity: Identity,
    pub(super) directory: DataDir,
    pub(super) address: String,
    /// Where nodes are that keep the log, for one that does not.
    pub(super) voters: Vec<String>,
}

/// What a replica begins with.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) storage: Storage,
    pub(super) restored: Restored,
    /// The ledger of a new cluster.
    pub(super) founding: Option<Ledger>,
    /// Nodes to talk to until the log says who they are.
    pub(super) acquaintances: Vec<(NodeId, NodeName, String)>,
}

/// Everything a node needs before it serves.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) joined: Joined,
    /// None when it keeps no log.
    pub(super) memory: Option<Memory>,
    pub(super) listener: Listener,
}

/// Longest wait for the cluster to take this node in.
const JOIN: Duration = Duration::from_secs(30);
/// Name of the socket file in the data directory.
const SOCKET: &str = "node.sock";

pub(super) async fn prepare(config: NodeConfig) -> Result<Prepared, NodeError> {
    check(&config)?;
    let expected = Expectation {
        cluster: match &config.start {
            Start::Found { peers, cluster } => Some(cluster_id(peers, cluster.as_deref())),
            Start::Join { .. } => None,
        },
        node: None,
        name: Some(config.name.clone()),
    };
    let mut directory = DataDir::open(&config.data_dir, Some(&expected))?;
    let listener = Listener::bind(&config.listen, Some(&config.data_dir.join(SOCKET)))?;
    let address = match &config.advertise {
        Some(address) => address.clone(),
        None => listener.address().to_string(),
    };
    let mut acquaintances = Vec::new();
    let mut founding = None;
    match &config.start {
        Start::Found { peers, cluster } => {
            let members = founding_members(peers);
            let (id, _) = members.find(&config.name).ok_or_else(|| not_in(peers, &config.name))?;
            if directory.identity().is_none() {
                let cluster = cluster_id(peers, cluster.as_deref());
                directory.create_identity(cluster, id, config.name.clone(), random()?)?;
            }
            founding = Some(Ledger::new(members));
        }
        Start::Join { contacts } => {
            let known = match directory.identity() {
                // It joined before. Without a log, its voters are looked for while it serves.
                Some(_) if directory.voters()?.is_some() => None,
                // The log usually knows the others, the contacts only help.
                Some(_) => ask_cluster(contacts).await.ok(),
                None => Some(join(&config, contacts, &address, &mut directory).await?),
            };
            acquaintances = known.map(|(_, view)| others(view, &config.name)).unwrap_or_default();
        }
    }
    let Some(identity) = directory.identity().cloned() else { return Err(NodeError::Died) };
    let voters = directory.voters()?;
    let memory = match voters {
        Some(_) => None,
        None => {
            let (storage, restored) = Storage::open(&directory)?;
            let founding = founding.filter(|_| restored == Restored::default());
            Some(Memory { storage, restored, founding, acquaintances })
        }
    };
    let mut voters = voters.unwrap_or_default();
    if let Start::Join { contacts } = &config.start {
        let fresh = contacts.iter().filter(|contact| !voters.contains(contact));
        let fresh: Vec<_> = fresh.cloned().collect();
        voters.extend(fresh);
    }
    Ok(Prepared {
        joined: Joined { config, identity, directory, address, voters },
        memory,
        listener,
    })
}

/// What a node begins with that is to keep the log from now on.
pub(super) async fn enrol(joined: &Joined) -> Result<Memory, NodeError> {
    joined.directory.begin_log()?;
    let (storage, restored) = Storage::open(&joined.directory)?;
    let known = ask_cluster(&joined.voters).await.ok();
    let acquaintances = known.map(|(_, view)| others(view, &joined.config.name));
    Ok(Memory {
        storage,
        restored,
        founding: None,
        acquaintances: acquaintances.unwrap_or_default(),
    })
}

fn check(config: &NodeConfig) -> Result<(), NodeError> {
    let least = config.heartbeat * 3;
    if config.heartbeat.is_zero() || config.election_timeout < least {
        return Err(NodeError::Config(format!(
            "an election timeout of {:?} is too short for a heartbeat of {:?}: at least {least:?} \
             is needed, so that two lost heartbeats do not start an election",
            config.election_timeout, config.heartbeat,
        )));
    }
    let longest = config.election_timeout;
    if let Some(least) = config.election_timeout_least.filter(|least| *least > longest) {
        return Err(NodeError::Config(format!(
            "an election timeout between {least:?} and {longest:?}: the first must not be the longer \
             one"
        )));
    }
    if let Start::Found { peers, .. } = &config.start {
        let mut names: Vec<_> = peers.iter().map(|(name, _)| name).collect();
        names.sort();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(NodeError::Config(format!("the list of peers names {} twice", twice[0])));
        }
        let mut addresses: Vec<_> = peers.iter().map(|(_, address)| address).collect();
        addresses.sort();
        if let Some(twice) = addresses.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(NodeError::Config(format!(
                "the list of peers gives the address {} to two nodes",
                twice[0]
            )));
        }
        if peers.len() > 7 {
            return Err(NodeError::Config(format!(
                "{} founding voters are too many: 3 or 5 survive one or two failures, 7 survive \
                 three; let the others join with --join",
                peers.len()
            )));
        }
    }
    Ok(())
}

fn not_in(peers: &[(NodeName, String)], name: &NodeName) -> NodeError {
    let names: Vec<_> = peers.iter().map(|(name, _)| name.to_string()).collect();
    NodeError::NotInPeers { name: name.clone(), peers: names.join(", ") }
}

/// Founding nodes are numbered in the order of their names, whatever order the list has.
fn founding_members(peers: &[(NodeName, String)]) -> Members {
    let mut sorted = peers.to_vec();
    sorted.sort();
    Members::founding(sorted)
}

/// The cluster that a peer list founds: lists that differ found different clusters, which
/// refuse each other instead of mixing.
fn cluster_id(peers: &[(NodeName, String)], cluster: Option<&str>) -> ClusterId {
    let mut sorted = peers.to_vec();
    sorted.sort();
    let list = sorted.iter().flat_map(|(name, address)| [name.as_str(), "=", address, ","]);
    let text = [cluster.unwrap_or_default(), "|"].into_iter().chain(list);
    // FNV-1a, 64 bits: short, and the same in every version of the standard library.
    let hash = text.flat_map(str::bytes).fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    ClusterId::new(hash)
}

async fn join(
    config: &NodeConfig,
    contacts: &[String],
    address: &str,
    directory: &mut DataDir,
) -> Result<(Client, ClusterView), NodeError> {
    let failed = |source| NodeError::Join { contacts: contacts.join(", "), source };
    let (client, _) = ask_cluster(contacts).await.map_err(failed)?;
    let number = random()?;
    let wish = MemberWish::Add {
        name: config.name.clone(),
        address: address.to_owned(),
        directory: number,
        zone: config.zone.clone(),
    };
    // Repeated under one name until it is answered: many may join at the same time.
    match client.with_timeout(JOIN).wish(Wish::Member(wish)).await.map_err(failed)? {
        Outcome::Member { id } => {
            // Asked where the wish was answered, so it shows what the wish has led to.
            let view = cluster_view(&client).await.map_err(failed)?;
            let name = config.name.clone();
            let plain = |it: &MemberView| it.id == id && it.role == Role::Member;
            if view.members.iter().any(plain) {
                let identity =
                    Identity { cluster: view.cluster, node: id, name, directory: number };
                directory.create_member(identity, &addresses_of_voters(&view))?;
            } else {
                directory.create_identity(view.cluster, id, name, number)?;
            }
            Ok((client, view))
        }
        Outcome::Refused(refusal) => {
            Err(NodeError::Refused { name: config.name.clone(), why: refusal.to_string() })
        }
        other => Err(NodeError::Refused { name: config.name.clone(), why: format!("{other:?}") }),
    }
}

async fn ask_cluster(
    contacts: &[String],
) -> Result<(Client, ClusterView), crate::client::ClientError> {
    let endpoints = contacts.iter().cloned().map(Endpoint::Tcp).collect();
    let client = Client::connect(endpoints, ClientOptions::default()).await?;
    let view = cluster_view(&client).await?;
    Ok((client, view))
}

async fn cluster_view(client: &Client) -> Result<ClusterView, crate::client::ClientError> {
    match client.ask(Question::Cluster).await? {
        Reply::Cluster(view) => Ok(*view),
        other => Err(crate::client::ClientError::unexpected(&other)),
    }
}

fn addresses_of_voters(view: &ClusterView) -> Vec<String> {
    let keeping = view.members.iter().filter(|member| member.role != Role::Member);
    keeping.map(|member| member.address.clone()).collect()
}

fn others(view: ClusterView, me: &NodeName) -> Vec<(NodeId, NodeName, String)> {
    let members = view.members.into_iter();
    let members = members.filter(|member| member.name != *me && member.role != Role::Member);
    members.map(|member| (member.id, member.name, member.address)).collect()
}

fn random() -> Result<u64, NodeError> {
    getrandom::u64()
        .map_err(|error| NodeError::Config(format!("the system gives no random numbers: {error}")))
}
