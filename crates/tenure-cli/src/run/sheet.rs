//! `--dry-run`: the time that there is for each step, and what is promised.

use std::time::Duration;

use serde_json::json;
use tenure_core::Moment;

use super::{budget::Budget, settings::Settings};
use crate::output::time::millis;

/// The sheet.
pub(super) fn of(settings: &Settings, as_json: bool) -> String {
    let budget = settings.budget;
    let good = budget.good_for(budget.ttl);
    let sent = Moment::from_nanos(u64::MAX / 2);
    let after = |at: Moment| at.since(sent);
    let deadline = sent + good;
    let (soft, kill) = (after(budget.soft_at(deadline)), after(budget.kill_at(deadline)));
    let guard = after(budget.guard_at(deadline));
    let ttl = budget.ttl.get();
    let lease = settings.options.time.ttl;
    let longest = lease.longest().get();
    let renew = budget.ttl.renew_interval();
    let elsewhere = ttl + (ttl - good);
    let smallest = budget.smallest_ttl().map_or(Duration::ZERO, |ttl| ttl.get());
    if as_json {
        return json!({
            "election": settings.election,
            "store": settings.store.describe(),
            "ttl_ms": millis(ttl),
            "longest_ttl_ms": millis(longest),
            "renew_ms": millis(renew),
            "round_trip_ms": millis(Budget::round_trip(budget.ttl)),
            "soft_stop_ms": millis(soft),
            "hard_kill_ms": millis(kill),
            "guard_ms": millis(guard),
            "deadline_ms": millis(good),
            "next_holder_ms": millis(elsewhere),
            "smallest_ttl_ms": millis(smallest),
        })
        .to_string();
    }
    let line = |what: &str, at: Duration, more: &str| {
        format!("  {what:<37} {:>9}  {more}", format!("{at:?}")).trim_end().to_owned()
    };
    [
        format!("{} through {}", settings.election, settings.store.describe()),
        String::from("counted from the sending of the last renewal that was acknowledged:"),
        match lease.is_fixed() {
            true => String::new(),
            false => format!("with the shortest lease; it adapts, to {longest:?} at most"),
        },
        line("renews every", renew, "a quarter of the ttl"),
        line("the command is asked to stop after", soft, "--stop-timeout before the kill"),
        line("everything is killed after", kill, "--kill-margin before the deadline"),
        line(
            "the front kills in its place after",
            guard,
            "when the supervisor is stopped or stuck",
        ),
        line("this process leads no longer after", good, "ttl less the drift"),
        line("another may lead after", elsewhere, "ttl and the drift, counted from receipt"),
        line("smallest ttl for this time to stop", smallest, ""),
        String::from(
            "promised: never two commands of this election at once, while clocks differ by less \
             than the drift",
        ),
        String::from(
            "not promised: what was handed to the kernel or the network is not taken back; give \
             $TENURE_TOKEN to what you write to",
        ),
    ]
    .into_iter()
    .filter(|line| !line.is_empty())
    .collect::<Vec<_>>()
    .join("\n")
}
