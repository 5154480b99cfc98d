//! The server's wall clock judges leases, and somebody sets it.

use std::time::Duration;

use rustix::process::Signal;
use tenure_testkit::{candidate::monotonic_nanos, servers::Postgres};

use super::candidate;

const TTL: Duration = Duration::from_secs(3);

fn server() -> Postgres {
    Postgres::start_with_clock().unwrap_or_else(|error| panic!("{error}"))
}

#[tokio::test]
async fn a_clock_set_forward_gives_a_waiting_candidate_nothing_early() {
    let server = server();
    let holder = candidate(&server.url(), "forward", "a", TTL);
    let token = holder.says("elected").token;
    let waiting = candidate(&server.url(), "forward", "b", TTL);
    waiting.says("campaigning");
    // The holder cannot notice anything, and rightly believes in the rest of its lease.
    holder.signal(Signal::STOP);
    let left = "SELECT extract(epoch FROM expires_at - clock_timestamp()) FROM tenure_lease";
    let asked = monotonic_nanos();
    let left: f64 = server.sql(left).expect("a lease").parse().expect("a number");
    let over = asked + Duration::from_secs_f64(left).as_nanos() as u64;
    server.set_clock("+1h").expect("a clock");
    let elected = waiting.says("elected");
    assert!(elected.token > token);
    let early = Duration::from_nanos(over.saturating_sub(elected.mono_ns));
    assert!(early.is_zero(), "a second leader, {early:?} before the first lease was over");
    let took = Duration::from_nanos(elected.mono_ns.saturating_sub(asked));
    assert!(took < TTL * 2, "nobody led for {took:?} of {TTL:?}");
    holder.signal(Signal::CONT);
    assert!(holder.next().event.starts_with("lost:"));
}

#[tokio::test]
async fn a_clock_set_back_neither_ends_a_lease_nor_keeps_it_for_ever() {
    let server = server();
    let mut holder = candidate(&server.url(), "back", "a", TTL);
    let token = holder.says("elected").token;
    let waiting = candidate(&server.url(), "back", "b", TTL);
    waiting.says("campaigning");
    // Killed before it can renew by the new clock: its row says that it leads for an hour.
    holder.signal(Signal::STOP);
    server.set_clock("-1h").expect("a clock");
    let killed = holder.kill();
    let elected = waiting.says("elected");
    assert!(elected.token > token, "tokens do not go back with the clock");
    let took = Duration::from_nanos(elected.mono_ns.saturating_sub(killed));
    assert!(took < TTL * 3, "nobody led for {took:?} of {TTL:?}");
}
