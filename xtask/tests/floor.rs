//! The bench end to end on its smallest system: real processes, one round.
#![allow(missing_docs)]

use std::process::Command;

use serde_json::Value;

#[test]
fn one_round_of_the_floor_measures_every_case() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["bench", "failover", "--only", "floor", "--rounds", "1", "--json", "--out"])
        .arg(dir.path())
        .output()
        .expect("xtask starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report in JSON");
    let samples = report["samples"].as_array().expect("samples");
    assert_eq!(samples.len(), 10, "five cases with three and with five nodes");
    for sample in samples {
        let grant = sample["grant_ns"].as_u64().expect("a grant");
        let view = sample["view_ns"].as_u64().expect("a view");
        assert!(grant > 0 && view >= grant, "{sample}");
    }
}
