//! The command line as a user meets it: help, and what is said when something is wrong. No
//! cluster runs here.

use std::{
    path::Path,
    process::{Command, Output},
};

/// Runs the real program, shut off from the settings and clusters of whoever runs the test.
fn tenure(arguments: &[&str], dir: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tenure"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TENURE_") {
            command.env_remove(name);
        }
    }
    command
        .args(arguments)
        .env("XDG_RUNTIME_DIR", dir)
        .env("XDG_STATE_HOME", dir)
        .env("COLUMNS", "100")
        .env("NO_COLOR", "1")
        .output()
        .expect("the program starts")
}

/// What a failing command says, and its exit code.
fn failure(arguments: &[&str]) -> String {
    let dir = tempfile::tempdir().expect("a directory");
    let output = tenure(arguments, dir.path());
    assert!(output.stdout.is_empty(), "data on standard output: {output:?}");
    let text = String::from_utf8(output.stderr).expect("text");
    let text = text.replace(&dir.path().display().to_string(), "DIR");
    format!("{text}exit code {}", output.status.code().expect("an exit code"))
}

fn help(arguments: &[&str]) -> String {
    let dir = tempfile::tempdir().expect("a directory");
    let output = tenure(arguments, dir.path());
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn the_first_help() {
    insta::assert_snapshot!(help(&["--help"]));
}

#[test]
fn the_help_of_node_and_dev() {
    insta::assert_snapshot!("help-node", help(&["node", "--help"]));
    insta::assert_snapshot!("help-dev", help(&["dev", "--help"]));
    insta::assert_snapshot!("help-leader", help(&["leader", "--help"]));
}

#[test]
fn no_cluster_anywhere() {
    insta::assert_snapshot!(failure(&["leader", "demo"]));
}

#[test]
fn no_local_cluster_to_do_something_to() {
    insta::assert_snapshot!(failure(&["dev", "kill", "leader"]));
}

#[test]
fn as_json_an_error_is_one_object() {
    let text = failure(&["leader", "demo", "--json"]);
    let (line, exit) = text.split_once('\n').unwrap();
    let value: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(value["code"], 3);
    for key in ["error", "why", "next"] {
        assert!(value[key].is_string(), "{key}");
    }
    assert_eq!(exit, "exit code 3");
}

#[test]
fn the_doctor_looks_at_the_machine_and_at_a_store() {
    let dir = tempfile::tempdir().expect("a directory");
    let url = format!("file://{}", dir.path().display());
    let data = dir.path().display().to_string();
    let output = tenure(&["doctor", "--url", &url, "--data-dir", &data, "--json"], dir.path());
    let sheet: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let machine = sheet["machine"].as_array().expect("checks of the machine");
    let names: Vec<_> = machine.iter().filter_map(|check| check["check"].as_str()).collect();
    for name in ["proof of death", "stalls", "disk"] {
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }
    assert_eq!(sheet["store"]["store"], "file");
    assert!(sheet["store"]["worst_failover_ms"].as_u64() >= sheet["store"]["ttl_ms"].as_u64());
    // Its promise depends on where the directory lies, so it is worth a look.
    assert_eq!(sheet["store"]["guarantees"]["one-holder"]["holds"], "if");
    assert_eq!((sheet["good"].as_bool(), output.status.code()), (Some(false), Some(1)));
}

#[test]
fn command_lines_that_make_no_sense() {
    for (name, arguments) in [
        ("unknown-flag", &["leader", "demo", "--al"] as &[&str]),
        ("unknown-command", &["leadr"]),
        ("no-unit", &["leader", "demo", "--wait", "5"]),
        ("bad-election", &["leader", "a b"]),
        ("bad-peers", &["node", "--id", "n1", "--peers", "n1"]),
        ("bad-drift", &["node", "--id", "n1", "--drift", "40%"]),
        ("bad-ttl", &["node", "--id", "n1", "--ttl", "1ms"]),
        ("short-ttl", &["node", "--id", "n1", "--ttl", "300ms", "--election-timeout", "1s"]),
        ("open-address", &["node", "--id", "n1", "--listen", "0.0.0.0:7400"]),
        ("bad-url", &["leader", "demo", "--url", "http://127.0.0.1"]),
        ("no-id", &["node"]),
    ] {
        insta::assert_snapshot!(name, without_stores(&failure(arguments)));
    }
}

/// Which stores are known depends on the features of the build.
fn without_stores(text: &str) -> String {
    let line = |line: &str| match line.split_once("known are: ") {
        Some((before, _)) => format!("{before}known are: STORES"),
        None => line.to_owned(),
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_usage_error_is_json_when_asked_for() {
    for arguments in [
        &["leader", "--json"] as &[&str],
        &["--json", "leader", "demo", "--al"],
        &["leadr", "--json"],
        &["node", "--id", "n1", "--ttl", "300ms", "--election-timeout", "1s", "--json"],
    ] {
        let text = failure(arguments);
        let (line, exit) = text.split_once('\n').unwrap();
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!((&value["code"], exit), (&serde_json::json!(2), "exit code 2"), "{text}");
    }
}

#[test]
fn the_parent_must_be_the_parent() {
    insta::assert_snapshot!(failure(&["node", "--id", "n1", "--die-with-parent", "1"]));
}

#[test]
fn a_taken_port_and_a_file_instead_of_a_directory() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let text = failure(&["node", "--id", "n1", "--listen", &address]);
    assert!(text.contains(&address) && text.ends_with("exit code 4"), "{text}");
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let text = failure(&["node", "--id", "n1", "--listen", "127.0.0.1:0", "--data-dir", path]);
    assert!(text.contains("not a directory") && text.ends_with("exit code 2"), "{text}");
}

#[test]
fn completions_and_manual_pages_are_made() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(help(&["completions", shell]).contains("tenure"), "{shell}");
    }
    assert!(help(&["man"]).contains(".TH tenure 1"));
    assert!(help(&["man", "dev", "kill"]).contains("EXIT STATUS"));
    let dir = tempfile::tempdir().unwrap();
    let pages = dir.path().join("man1");
    let output = tenure(&["man", "--dir", pages.to_str().unwrap()], dir.path());
    assert!(output.status.success(), "{output:?}");
    assert!(pages.join("tenure-leader.1").exists());
}

#[test]
fn a_dev_directory_in_the_environment_is_not_where_manual_pages_go() {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_tenure"))
        .arg("man")
        .env("TENURE_DIR", dir.path())
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains(".TH tenure 1"), "{output:?}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn the_version_is_told() {
    assert!(help(&["version"]).starts_with(concat!("tenure ", env!("CARGO_PKG_VERSION"))));
    let value: serde_json::Value = serde_json::from_str(&help(&["version", "--json"])).unwrap();
    assert_eq!(value["version"], env!("CARGO_PKG_VERSION"));
}
