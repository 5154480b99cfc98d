//! What a store promises, as it is configured, and what that means for a lease of this length.

use std::time::{Duration, Instant};

use serde_json::json;
use tenure::Elector;
use tenure_core::{
    Moment,
    backend::{Capabilities, Guarantee},
    timing::{Drift, Ttl, holder_deadline},
};

use super::{Check, is_risky};
use crate::{
    ask::PATIENCE,
    cli::Global,
    error::Outcome,
    output::{
        human::Paint,
        time::{millis, span},
    },
    store,
};

/// Questions whose answers are timed.
const QUESTIONS: usize = 9;
/// An election that nobody contends for.
const NOBODYS: &str = "tenure/doctor";

/// What was found.
pub(super) struct Sheet {
    capabilities: Capabilities,
    ttl: Duration,
    renewed_every: Duration,
    given_up_after: Duration,
    next_leads_after: Duration,
    answers_in: Duration,
    pub(super) checks: Vec<Check>,
}

/// Connects and asks.
pub(super) async fn sheet(url: &str, ttl: Ttl, global: &Global) -> Outcome<Sheet> {
    let builder = Elector::builder().ttl(ttl.get()).timeout(global.timeout.unwrap_or(PATIENCE));
    let elector = builder.connect(url).await.map_err(|error| store::failed(&error))?;
    let mut answered = Vec::new();
    for _ in 0..QUESTIONS {
        let begun = Instant::now();
        elector.election(NOBODYS).leader().await.map_err(|error| store::failed(&error))?;
        answered.push(begun.elapsed());
    }
    elector.close();
    answered.sort_unstable();
    Ok(Sheet::of(elector.capabilities(), ttl, answered[QUESTIONS / 2], answered[QUESTIONS - 1]))
}

impl Sheet {
    fn of(capabilities: Capabilities, asked: Ttl, answers_in: Duration, worst: Duration) -> Self {
        // It has connected with this ttl, so the store can keep it.
        let ttl = capabilities.lease(asked).unwrap_or(asked);
        let drift = match capabilities.pads_leases {
            true => Drift::default(),
            false => Drift::default().of_both_sides(),
        };
        let sent = Moment::default();
        let deadline = holder_deadline(sent, ttl, drift);
        let checks = checks(&capabilities, ttl, answers_in, worst);
        Self {
            ttl: ttl.get(),
            renewed_every: ttl.renew_interval(),
            given_up_after: deadline.since(sent),
            next_leads_after: capabilities.worst_failover(ttl),
            answers_in,
            checks,
            capabilities,
        }
    }

    pub(super) fn human(&self, paint: Paint) -> String {
        let capabilities = &self.capabilities;
        let yes = |yes: bool| String::from(if yes { "yes" } else { "no" });
        let mut lines = vec![paint.strong(&capabilities.store)];
        lines.extend(self.checks.iter().map(|check| check.human(paint)));
        let mut line =
            |what: &str, found: String| lines.push(format!("        {what:<25}  {found}"));
        line("lease", span(self.ttl));
        line("renewed every", span(self.renewed_every));
        line("holder gives up after", format!("{}, without an answer", span(self.given_up_after)));
        line(
            "the next one leads within",
            format!("{} of a lost host", span(self.next_leads_after)),
        );
        line("shortest lease", span(capabilities.shortest_ttl));
        line("leases end by", capabilities.expired_by.clone());
        line("order of arrival", yes(capabilities.queue));
        line("named hand-over", yes(capabilities.transfer));
        lines.join("\n")
    }

    pub(super) fn machine(&self) -> serde_json::Value {
        let capabilities = &self.capabilities;
        let guarantees: serde_json::Map<_, _> = guarantees(capabilities)
            .into_iter()
            .map(|(name, guarantee)| {
                let (holds, condition) = match guarantee {
                    Guarantee::Yes => ("yes", None),
                    Guarantee::If(condition) => ("if", Some(condition)),
                    Guarantee::No(reason) => ("no", Some(reason)),
                };
                (name.to_owned(), json!({ "holds": holds, "condition": condition }))
            })
            .collect();
        let checks: Vec<_> = self.checks.iter().map(Check::machine).collect();
        json!({
            "store": capabilities.store,
            "ttl_ms": millis(self.ttl),
            "renewed_every_ms": millis(self.renewed_every),
            "holder_gives_up_after_ms": millis(self.given_up_after),
            "worst_failover_ms": millis(self.next_leads_after),
            "answers_in_us": u64::try_from(self.answers_in.as_micros()).unwrap_or(u64::MAX),
            "shortest_ttl_ms": millis(capabilities.shortest_ttl),
            "leases_ended_by": capabilities.expired_by,
            "queue": capabilities.queue,
            "transfer": capabilities.transfer,
            "guarantees": guarantees,
            "checks": checks,
        })
    }
}

/// The promises, by the names under which a URL can require them.
fn guarantees(capabilities: &Capabilities) -> [(&'static str, &Guarantee); 3] {
    let Capabilities { one_holder, monotonic_token, pushed, .. } = capabilities;
    [("one-holder", one_holder), ("monotonic-token", monotonic_token), ("push", pushed)]
}

fn checks(
    capabilities: &Capabilities,
    ttl: Ttl,
    answers_in: Duration,
    worst: Duration,
) -> Vec<Check> {
    let found = format!("an answer takes {}, at worst {}", span(answers_in), span(worst));
    let advice = format!(
        "a renewal may take a twentieth of a lease of {ttl} without putting it at risk: give a \
         longer --ttl, or a store that is nearer"
    );
    let mut checks = vec![Check::unless(is_risky(worst, ttl), "answers", found, advice)];
    checks.extend(guarantees(capabilities).map(|(name, guarantee)| {
        let what = match name {
            "one-holder" => "never two leaders at once",
            "monotonic-token" => "tokens only go up",
            _ => "changes are told at once",
        };
        match guarantee {
            Guarantee::Yes => Check::good(name, format!("yes: {what}")),
            Guarantee::If(condition) => Check::unless(
                true,
                name,
                format!("{what}, as long as {condition}"),
                "if that cannot be relied on, let the resource check the token: tenure fence --help",
            ),
            Guarantee::No(reason) => Check::unless(
                name != "push",
                name,
                format!("no: {reason}"),
                "let the resource check the token (tenure fence --help), or take another store",
            ),
        }
    }));
    checks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_sheet_is_for_the_lease_that_the_store_keeps() {
        let elector = Elector::connect("mem://doctor").await.unwrap();
        let ttl = Ttl::new(Duration::from_secs(2)).unwrap();
        let (usual, slow) = (Duration::from_micros(5), Duration::from_millis(300));
        let sheet = Sheet::of(elector.capabilities(), ttl, usual, slow);
        assert!(sheet.given_up_after < sheet.ttl && sheet.ttl <= sheet.next_leads_after);
        let (human, machine) = (sheet.human(Paint::default()), sheet.machine());
        assert!(human.contains("leads within") && human.contains("one-holder"), "{human}");
        assert_eq!(machine["ttl_ms"], 2000);
        assert_eq!(machine["renewed_every_ms"], 500);
        assert!(machine["guarantees"]["one-holder"]["holds"].is_string(), "{machine}");
        assert_eq!(machine["checks"][0]["good"], false, "a slow answer: {machine}");
    }
}
