//! `tenure doctor`: whether this machine and a store can carry elections, and how long failovers
//! take there.

mod machine;
mod store;

use std::{path::PathBuf, time::Duration};

use clap::Args;
use serde_json::json;
use tenure_core::timing::Ttl;

use crate::{
    args,
    cli::{Global, asking, epilogue},
    error::{Exit, Outcome},
    output::{Output, human::Paint, json},
};

/// Check this machine, and what a store promises
///
/// The sheet is for leases of one length: when they are renewed, when a holder gives up, and how
/// long a failover takes at worst. Connects as a candidate would, so whatever would stop one is told
/// here too. Nothing is contended for, and nothing is changed.
#[derive(Debug, Args)]
#[command(after_help = epilogue(
    &[
        ("tenure doctor", "this machine"),
        ("tenure doctor --url etcd://10.0.0.1:2379", "and that etcd"),
        ("tenure doctor --data-dir /var/lib/tenure", "and the disk under a node's data"),
        ("tenure doctor --url redis://db --ttl 2s --json", "for another ttl, as JSON"),
    ],
    &asking(&[
        (Exit::Yes, "nothing to say against it"),
        (Exit::No, "something is worth a look, or a promise has a condition: see the sheet"),
        (Exit::Denied, "the store cannot be used"),
    ]),
))]
pub(crate) struct DoctorArgs {
    /// Length of the leases that the sheet is for
    #[arg(long, default_value = "5s", value_name = "DUR", value_parser = args::ttl)]
    ttl: Ttl,
    /// Where a node keeps its data: how long its disk takes for a write that is to survive
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Check {
    /// What, in a word or two.
    name: &'static str,
    /// What was found.
    found: String,
    /// What it means for elections and what to do, when it is not as it should be.
    advice: Option<String>,
}

impl Check {
    fn good(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, found: found.into(), advice: None }
    }

    /// The advice is given only when something is wrong.
    fn unless(
        wrong: bool,
        name: &'static str,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        let advice = wrong.then(|| advice.into());
        Self { name, found: found.into(), advice }
    }

    fn human(&self, paint: Paint) -> String {
        let mark = match self.advice {
            None => paint.good("ok  "),
            Some(_) => paint.unsure("look"),
        };
        let mut text = format!("  {mark}  {:<16}  {}", self.name, self.found);
        if let Some(advice) = &self.advice {
            text.push_str(&format!("\n        {}", paint.dim(advice)));
        }
        text
    }

    fn machine(&self) -> serde_json::Value {
        json!({
            "check": self.name,
            "good": self.advice.is_none(),
            "found": self.found,
            "advice": self.advice,
        })
    }
}

/// Runs the command.
pub(crate) async fn run(args: &DoctorArgs, global: &Global, output: Output) -> Outcome {
    let ttl = args.ttl;
    if !output.json {
        output.talk("looking at this machine for a second ...");
    }
    let data_dir = args.data_dir.clone();
    let looked = move || machine::checks(ttl, data_dir.as_deref());
    let machine = tokio::task::spawn_blocking(looked).await.unwrap_or_default();
    // A store that cannot be reached is the error that ends this; what was found before it is
    // shown all the same.
    let store = match global.url.as_deref() {
        Some(url) => Some(store::sheet(url, ttl, global).await),
        None => None,
    };
    let (store, failed) = match store {
        Some(Ok(sheet)) => (Some(sheet), None),
        Some(Err(failure)) => (None, Some(failure)),
        None => (None, None),
    };
    let checks: Vec<&Check> =
        machine.iter().chain(store.iter().flat_map(|sheet| &sheet.checks)).collect();
    let good = checks.iter().all(|check| check.advice.is_none());
    if output.json {
        let looked: Vec<_> = machine.iter().map(Check::machine).collect();
        let sheet = store.as_ref().map(store::Sheet::machine);
        let good = good && failed.is_none();
        output.data(&json::text(&json!({ "good": good, "machine": looked, "store": sheet })))?;
    } else {
        let paint = output.paint();
        let mut lines = vec![paint.strong("this machine")];
        lines.extend(machine.iter().map(|check| check.human(paint)));
        lines.extend(store.iter().map(|sheet| sheet.human(paint)));
        if store.is_none() && failed.is_none() {
            lines.push(paint.dim("no store was asked: name one with --url"));
        }
        output.data(&lines.join("\n"))?;
    }
    match failed {
        Some(failure) => Err(failure),
        None => Ok(if good { Exit::Yes } else { Exit::No }),
    }
}

/// As a share of a ttl: what takes longer than a twentieth of it puts renewals at risk.
const RISKY_SHARE: u32 = 20;

fn is_risky(length: Duration, ttl: Ttl) -> bool {
    length > ttl.get() / RISKY_SHARE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_is_given_for_what_is_wrong_only() {
        let bad = Check::unless(true, "disk", "a write takes 80 ms", "use another");
        let good = Check::unless(false, "disk", "a write takes 80 µs", "use another");
        insta::assert_snapshot!(
            [bad.human(Paint::default()), good.human(Paint::default())].join("\n"),
            @r"
          look  disk              a write takes 80 ms
                use another
          ok    disk              a write takes 80 µs
        "
        );
        assert_eq!(bad.machine()["good"], false);
        assert_eq!(good.machine()["advice"], serde_json::Value::Null);
    }
}
