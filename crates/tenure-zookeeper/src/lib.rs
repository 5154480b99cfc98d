//! Elections on ZooKeeper.
//!
//! | our word | ZooKeeper's thing |
//! |---|---|
//! | session | a session, and an ephemeral node `BASE/sessions/SESSION` |
//! | candidacy | an ephemeral sequential node `BASE/elections/NAME/SESSION-NUMBER` |
//! | leader | the node of an election with the lowest number |
//! | token | the change that created it (`czxid`) |
//! | renewal | a write to the session's node, and a look at the nodes of what is held |
//! | resignation | the node is deleted |
//! | hint | one-shot watches: of the node before the own one, or of the leader's |

mod claims;
mod ensemble;
mod handshake;
mod nodes;
mod queue;
mod slots;
mod store;
mod url;
mod watches;

use core::time::Duration;
use std::sync::Arc;

use tenure_core::backend::{Backend, Capabilities, Connect, ConnectError, Guarantee, StoreError};
use zookeeper_client::{Client, CreateMode, Error};

use ensemble::{Ensemble, persist};
use handshake::{Granted, Trouble};
use nodes::Paths;
use store::ZooKeeper;
use url::Target;

/// Connects to ZooKeeper, and finds out which sessions it grants.
///
/// # Errors
/// [`ConnectError`], with what to do about it: a URL that cannot be used, nobody there, no
/// quorum, a missing permission, something else than ZooKeeper, a ttl or a timeout that does not
/// go with its sessions.
pub async fn connect(connect: &Connect) -> Result<Arc<dyn Backend>, ConnectError> {
    let target = Target::parse(&connect.url)?;
    let unusable = |why: String| ConnectError::Unusable { store: target.shown(), why };
    let granted = first_answer(&target, connect.timeout).await?;
    let tick = target.tick.unwrap_or_else(|| granted.tick());
    let ttl = connect.ttl.get();
    if ttl > granted.longest {
        let longest = granted.longest;
        return Err(unusable(format!(
            "its sessions last at most {longest:?}; ask for a shorter ttl than {ttl:?}, or raise \
             its maxSessionTimeout"
        )));
    }
    // A little less than what the caller waits, so that the reason is heard and not only that
    // there was no answer.
    let limit = connect.timeout.min(ttl.max(granted.shortest)) * 9 / 10;
    let report = if granted.standalone { Duration::ZERO } else { tick * 3 / 4 };
    if limit <= report * 4 / 3 {
        return Err(unusable(format!(
            "a renewal takes {report:?} with its ticks of {tick:?}; wait longer for answers than \
             {:?}, or lower its tickTime",
            connect.timeout
        )));
    }
    let turn = usize::try_from(connect.process.get() % 1024).unwrap_or(0);
    let mut servers = target.servers.clone();
    servers.rotate_left(turn % target.servers.len().max(1));
    let reader = ttl.max(granted.shortest);
    let ensemble = Ensemble::new(servers.join(","), target.login.clone(), limit, report, reader);
    let store =
        ZooKeeper::new(ensemble, Paths::below(target.base.clone()), capabilities(&granted, tick));
    let prepared = tokio::time::timeout(connect.timeout, prepare(&store)).await;
    match prepared {
        Ok(Ok(())) => Ok(Arc::new(store)),
        Ok(Err(StoreError::Refused { why })) => Err(unusable(why)),
        Ok(Err(error)) => {
            let why = error.to_string();
            Err(ConnectError::Unavailable { store: target.shown(), why })
        }
        Err(_) => Err(ConnectError::Unavailable {
            store: target.shown(),
            why: format!("nothing came within {:?}; has it a quorum?", connect.timeout),
        }),
    }
}

/// What the first server grants that answers.
async fn first_answer(target: &Target, patience: Duration) -> Result<Granted, ConnectError> {
    let share = patience / u32::try_from(target.servers.len()).unwrap_or(1).max(1);
    let mut away = Vec::new();
    for server in &target.servers {
        match handshake::ask(server, share).await {
            Ok(granted) => return Ok(granted),
            Err(Trouble::NotZooKeeper(why)) => {
                let why = format!("{why}; is the port right?");
                return Err(ConnectError::Unusable { store: target.shown(), why });
            }
            Err(Trouble::Away(why)) => away.push(why),
        }
    }
    let why = format!("{}; is it running, and is the port right?", away.join("; "));
    Err(ConnectError::Unavailable { store: target.shown(), why })
}

/// Makes the nodes that everything lies below, and tries whether this user may write there.
async fn prepare(store: &ZooKeeper) -> Result<(), StoreError> {
    let client = store.ensemble.reader().await?;
    let options = store.ensemble.options(CreateMode::Persistent);
    for path in [store.paths.elections(), store.paths.sessions()] {
        make(store, &client, &path, &options).await?;
        let probe = format!("{path}/probe-");
        let ephemeral = store.ensemble.options(CreateMode::EphemeralSequential);
        persist!(store.ensemble, None, async {
            let (_, sequence) = client.create(&probe, &[], &ephemeral).await?;
            store::or_gone(client.delete(&format!("{probe}{sequence}"), None).await)
        })?;
    }
    Ok(())
}

/// Makes a node and all above it.
async fn make(
    store: &ZooKeeper,
    client: &Client,
    path: &str,
    options: &zookeeper_client::CreateOptions<'_>,
) -> Result<(), StoreError> {
    let ends = path.match_indices('/').map(|(at, _)| at).skip(1).chain([path.len()]);
    for end in ends {
        let node = &path[..end];
        persist!(store.ensemble, None, async {
            // Asked first: who may not write above may still use what is there.
            if client.check_stat(node).await?.is_some() {
                return Ok(());
            }
            match client.create(node, &[], options).await {
                Ok(_) | Err(Error::NodeExists) => Ok(()),
                Err(error) => Err(error),
            }
        })?;
    }
    Ok(())
}

fn capabilities(granted: &Granted, tick: Duration) -> Capabilities {
    let leader = "the clock of the ensemble's leader";
    let alone = "the clock of the only server";
    Capabilities {
        store: String::from("zookeeper"),
        shortest_ttl: granted.shortest,
        ttl_step: Duration::from_millis(1),
        expired_by: String::from(if granted.standalone { alone } else { leader }),
        one_holder: match granted.standalone {
            true => Guarantee::If(String::from("nobody deletes nodes by hand")),
            false => Guarantee::If(String::from(
                "followers report to their leader every half tick, as they are built to, and \
                 nobody deletes nodes by hand",
            )),
        },
        monotonic_token: Guarantee::If(String::from(
            "ZooKeeper is not restored from a backup, and no majority loses its disks",
        )),
        pushed: Guarantee::If(String::from(
            "who asks does not contend itself: a candidate hears of the one before it, and sees \
             other changes when it looks, twice in a ttl",
        )),
        queue: true,
        transfer: false,
        pads_leases: false,
        // Sessions end at the next multiple of a tick; followers report half a tick late.
        expiry_delay: tick * 2,
    }
}
