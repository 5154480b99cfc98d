//! The death of other processes, proved; and everything that looks like it and is not.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, net::UnixListener},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::timeout;

use super::{
    Rig, Stranger, aside,
    child::{Other, PROCESS},
    client_hello,
};
use crate::transport::{BindError, Listener, Settings, TransportEvent};

/// Long enough for a death to be seen if there was one.
const QUIET: Duration = Duration::from_millis(400);

async fn other(rig: &Rig, role: &'static str) -> Other {
    let address = rig.address.to_string();
    let socket = rig.transport.socket().unwrap().to_owned();
    aside(move || Other::start(role, &address, &socket)).await
}

fn proved_up(event: &TransportEvent) -> Option<u64> {
    match event {
        TransportEvent::ClientUp { client, process: PROCESS, local_proof: true, .. } => {
            Some(*client)
        }
        _ => None,
    }
}

fn death_of_it(event: &TransportEvent) -> Option<()> {
    matches!(event, TransportEvent::Died { process: PROCESS, .. }).then_some(())
}

async fn assert_nobody_dies(rig: &mut Rig) {
    let died = timeout(QUIET, rig.until(death_of_it)).await;
    assert!(died.is_err(), "a death was reported");
}

#[tokio::test]
async fn a_killed_client_is_proved_dead() {
    let mut rig = Rig::start(1);
    let mut client = other(&rig, "client").await;
    assert_eq!(client.ready, "true", "it went over to the socket file");
    rig.until(proved_up).await;
    client.kill();
    rig.until(death_of_it).await;
}

#[tokio::test]
async fn a_stopped_client_is_not_dead_until_it_is() {
    let mut rig = Rig::start(1);
    let mut client = other(&rig, "client").await;
    rig.until(proved_up).await;
    client.signal(Signal::STOP);
    assert_nobody_dies(&mut rig).await;
    client.signal(Signal::CONT);
    assert_nobody_dies(&mut rig).await;
    client.signal(Signal::STOP);
    client.kill();
    rig.until(death_of_it).await;
}

#[tokio::test]
async fn a_connection_that_outlives_its_process_in_a_child_does_not_hide_the_death() {
    let mut rig = Rig::start(1);
    let mut parent = other(&rig, "parent").await;
    let heir: i32 = parent.ready.parse().unwrap();
    let client = rig.until(proved_up).await;
    parent.kill();
    rig.until(death_of_it).await;
    // The heir still holds the socket; the connection of the dead is closed all the same.
    let down = |event: &TransportEvent| {
        matches!(event, TransportEvent::ClientDown { client: gone } if *gone == client)
            .then_some(())
    };
    rig.until(down).await;
    kill_process(Pid::from_raw(heir).unwrap(), Signal::KILL).unwrap();
}

#[tokio::test]
async fn whoever_speaks_for_another_process_proves_nothing() {
    let mut rig = Rig::start(1);
    let mut impostor = other(&rig, "impostor").await;
    rig.until(|event| match event {
        TransportEvent::ClientUp { process: PROCESS, local_proof: false, .. } => Some(()),
        _ => None,
    })
    .await;
    impostor.kill();
    assert_nobody_dies(&mut rig).await;
}

#[tokio::test]
async fn without_local_proof_nobody_is_proved_dead() {
    let settings = Settings { local_proof: false, ..Settings::default() };
    let mut rig = Rig::with(super::identity(1, 1), settings, "127.0.0.1:0");
    let mut client = other(&rig, "client").await;
    client.kill();
    assert_nobody_dies(&mut rig).await;
}

#[tokio::test]
async fn the_end_of_a_connection_is_no_proof() {
    let mut rig = Rig::start(1);
    let address = rig.address;
    aside(move || {
        let mut stranger = Stranger::connect(address);
        stranger.hello(&client_hello());
        stranger.greeting();
    })
    .await;
    rig.until(|event| matches!(event, TransportEvent::ClientDown { .. }).then_some(())).await;
    let died = timeout(QUIET, rig.events.recv()).await;
    assert!(died.is_err(), "{died:?}");
}

#[tokio::test]
async fn a_killed_node_is_proved_dead_and_its_links_end() {
    let mut rig = Rig::start(1);
    let mut node = other(&rig, "node").await;
    let address = node.ready.clone();
    rig.transport.set_peers(std::collections::BTreeMap::from([(super::node_id(2), address)]));
    rig.linked(2).await;
    assert!(rig.transport.would_prove(super::node_id(2)));
    node.kill();
    let (mut died, mut down) = (false, false);
    while !(died && down) {
        match rig.next().await {
            TransportEvent::Died { process, .. } => {
                assert_eq!(process, PROCESS);
                died = true;
            }
            TransportEvent::PeerDown { incarnation, proven, .. } => {
                assert_eq!(incarnation, PROCESS);
                assert!(died || !proven, "a proof came before the death was told");
                down = true;
            }
            TransportEvent::PeerFrame { .. } => assert!(!down, "a frame came after the end"),
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_stopped_node_stays_up_until_it_is_given_up_and_is_never_dead() {
    let settings = Settings { limit: Duration::from_millis(300), ..Settings::default() };
    let mut rig = Rig::with(super::identity(1, 1), settings, "127.0.0.1:0");
    let node = other(&rig, "node").await;
    rig.up(2).await;
    node.signal(Signal::STOP);
    let (proven, elapsed) = {
        let begun = tokio::time::Instant::now();
        let down = |event: &TransportEvent| match event {
            TransportEvent::PeerDown { proven, .. } => Some(*proven),
            TransportEvent::Died { .. } => panic!("it is only stopped"),
            _ => None,
        };
        (rig.until(down).await, begun.elapsed())
    };
    assert!(!proven);
    assert!(elapsed >= Duration::from_millis(500), "{elapsed:?}");
    node.signal(Signal::CONT);
    rig.up(2).await;
}

#[tokio::test]
async fn a_stale_socket_file_is_replaced_and_a_living_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("node.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "std leaves the file behind");
    let listener = Listener::bind("127.0.0.1:0", Some(&path)).unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let error = Listener::bind("127.0.0.1:0", Some(&path)).unwrap_err();
    assert!(matches!(&error, BindError::InUse { path: taken } if *taken == path), "{error}");
    drop(listener);
    assert!(!path.exists(), "the file goes with its listener");
}

#[test]
fn a_path_that_is_too_long_costs_only_the_socket_file() {
    let directory = tempfile::tempdir().unwrap();
    let deep = directory.path().join("d".repeat(100));
    fs::create_dir(&deep).unwrap();
    let listener = Listener::bind("127.0.0.1:0", Some(&deep.join("node.sock"))).unwrap();
    assert_eq!(listener.socket(), None);
}

#[test]
fn a_taken_port_is_named() {
    let taken = Listener::bind("127.0.0.1:0", None).unwrap();
    let address = taken.address().to_string();
    let error = Listener::bind(&address, None).unwrap_err().to_string();
    assert!(error.contains(&address) && error.contains("in use"), "{error}");
    let error = Listener::bind("nonsense", None).unwrap_err().to_string();
    assert!(error.contains("nonsense"), "{error}");
}

#[tokio::test]
async fn a_node_out_of_files_keeps_its_links_and_recovers() {
    let node = aside(|| Other::start("few files", "", "")).await;
    let address = node.ready.parse().unwrap();
    aside(move || {
        let ping = |stranger: &mut Stranger| {
            let question = crate::wire::Question::Ping;
            stranger.say(&super::framed(&crate::wire::ClientFrame { number: 1, question }));
            stranger.message();
        };
        let mut first = Stranger::connect(address);
        first.hello(&client_hello());
        first.greeting();
        ping(&mut first);
        let mut crowd: Vec<_> = (0..60).map(|_| Stranger::connect(address)).collect();
        crowd.iter_mut().for_each(|stranger| stranger.hello(&client_hello()));
        ping(&mut first);
        std::thread::sleep(Duration::from_millis(300));
        ping(&mut first);
        drop(crowd);
        let mut late = Stranger::connect(address);
        late.hello(&client_hello());
        late.greeting();
        ping(&mut late);
        ping(&mut first);
    })
    .await;
}
