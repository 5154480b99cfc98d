//! A holder that is cut off together with its primary.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tenure_testkit::{
    candidate::Candidate,
    servers::{Sentinels, ask},
};

use crate::{program, store};

const TTL: u64 = 800;

/// Passes a port on until it is cut, then neither answers nor says why.
fn passage(to: u16, cut: &Arc<AtomicBool>) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("a port").port();
    let cut = Arc::clone(cut);
    std::thread::spawn(move || {
        for inner in listener.incoming().flatten() {
            let Ok(outer) = TcpStream::connect((Ipv4Addr::LOCALHOST, to)) else { continue };
            let ends = [(&inner, &outer), (&outer, &inner)].map(|(from, to)| {
                (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"))
            });
            for (from, to) in ends {
                let cut = Arc::clone(&cut);
                std::thread::spawn(move || carry(from, to, &cut));
            }
        }
    });
    port
}

fn carry(mut from: TcpStream, mut to: TcpStream, cut: &AtomicBool) {
    let mut bytes = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut bytes) {
        if cut.load(Ordering::Relaxed) {
            // What comes from now on is lost on the way, as it is behind a dead link.
            continue;
        }
        if to.write_all(&bytes[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

/// The holder and the primary still reach each other, the sentinels reach neither. The primary
/// goes on renewing the lease; without a majority of the sentinels that counts for nothing, so
/// the holder has lost when the others elect.
#[test]
fn a_primary_that_only_the_holder_reaches() {
    let dir = tempfile::tempdir().expect("a directory");
    let group = Sentinels::start(dir.path()).expect("Redis under Sentinel");
    let old = group.primary().expect("a primary");
    let cut = Arc::new(AtomicBool::new(false));
    let inside = group.ports().map(|port| format!("127.0.0.1:{}", passage(port, &cut)));
    let inside = inside.collect::<Vec<_>>().join(",");
    let outside = store(group.url(), TTL);
    let start = |url: &str, id: &str| {
        Candidate::start(program(), url, "cut-off", id, outside.ttl).expect("a candidate")
    };
    let holder = start(&format!("redis+sentinel://{inside}/mymaster"), "holder");
    let token = holder.says("elected").token;

    cut.store(true, Ordering::Relaxed);
    group.cut_off(old).expect("a primary without sentinels");
    group.wait_for_switch(old).expect("a failover");
    let other = start(&outside.url, "other");
    let elected = other.says("elected");
    assert!(elected.token > token, "token {} after {token}", elected.token);
    let lost = holder.says("lost");
    assert_eq!(lost.token, token);
    assert!(
        lost.acted_ns <= elected.mono_ns,
        "it acted {:?} after another was elected",
        Duration::from_nanos(lost.acted_ns - elected.mono_ns)
    );
    // The old primary is alive and would grant it.
    let port = group.servers[old].port();
    let role = ask(port, &["-a", Sentinels::PASSWORD], &["ROLE"]).expect("an answer");
    assert!(role.starts_with("master"), "{role}");
    std::thread::sleep(outside.ttl * 4);
    assert_eq!(holder.has_said(), None, "elected by a primary that was replaced");
    assert_eq!(other.has_said(), None);
}
