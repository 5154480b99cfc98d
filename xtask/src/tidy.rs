//! The rules of the repository, as checks over its tracked files.
//!
//! A check never writes. The one recorded file, the edges between the
//! workspace's crates, is rewritten by `cargo xtask tidy --write-edges`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;
use serde_json::Value;

use crate::failure::{Failure, Outcome};
use crate::install;

/// The longest a source file may get.
const LONGEST_FILE: usize = 600;
/// The recorded edges between the workspace's crates.
const EDGES: &str = "xtask/crate-edges.txt";
/// The only place `Cargo.lock` may take a crate from, in two pieces so that
/// the rule on host names holds for this file too.
const SOURCE: [&str; 2] = ["registry+https://github.com/rust-lang/crates", ".io-index"];
/// Where each feature gates its own code only, so that features cannot matter to each other.
const FACADE: &str = "crates/tenure/src";
/// Words that have no place in a tracked file, in pieces for the same reason.
const HOSTS: [[&str; 2]; 14] = [
    ["crates", ".io"],
    ["docs", ".rs"],
    ["pypi", ".org"],
    ["files.python", "hosted.org"],
    ["registry.npm", "js.org"],
    ["npmjs", ".com"],
    ["registry.yarn", "pkg.com"],
    ["deb.debian", ".org"],
    ["ftp.debian", ".org"],
    ["security.debian", ".org"],
    ["snapshot.debian", ".org"],
    ["static.rust", "-lang.org"],
    ["rubygems", ".org"],
    ["proxy.golang", ".org"],
];
/// Beginnings of paths that exist on one machine only.
const PATHS: [[&str; 2]; 5] =
    [["/wo", "rk/"], ["/ro", "ot/"], ["/ho", "me/"], ["/Us", "ers/"], ["bash", "_jobs"]];
/// What unfinished or silenced code looks like.
const UNFINISHED: [[&str; 2]; 3] = [["to", "do!"], ["unimpl", "emented!"], ["#[ig", "nore"]];
/// What the pure crates may not reach: runtimes, the system and chance.
const IMPURE: [&str; 14] = [
    "async-std",
    "fastrand",
    "getrandom",
    "libc",
    "mio",
    "nix",
    "rand",
    "rand_core",
    "rustix",
    "signal-hook",
    "smol",
    "socket2",
    "tokio",
    "uuid",
];

/// Options of `cargo xtask tidy`.
#[derive(Args)]
pub(crate) struct TidyArgs {
    /// Record the present edges between the workspace's crates
    #[arg(long)]
    write_edges: bool,
}

/// Runs every rule and prints what breaks one.
pub(crate) fn run(args: &TidyArgs) -> Outcome {
    install::git()?;
    if args.write_edges {
        let edges = edges(&metadata().map_err(|why| cannot("read cargo metadata", &why))?);
        let path = install::workspace().join(EDGES);
        fs::write(&path, edges).map_err(|why| cannot("write the crate edges", &why))?;
        println!("wrote {EDGES}");
    }
    check().map_err(|why| {
        Failure::new("the repository is not tidy", why, "mend the lines above and try again")
    })?;
    println!("tidy");
    Ok(())
}

fn cannot(what: &str, why: &dyn std::fmt::Display) -> Failure {
    Failure::new(format!("cannot {what}"), why, "mend that, then try again")
}

/// Runs every rule; each violation goes to standard output, their number into
/// the error.
///
/// # Errors
/// When a rule is broken or could not be checked.
pub(crate) fn check() -> Result<(), String> {
    let violations = violations()?;
    for violation in &violations {
        println!("    tidy: {violation}");
    }
    match violations.len() {
        0 => Ok(()),
        1 => Err("1 rule is broken".into()),
        n => Err(format!("rules are broken in {n} places")),
    }
}

fn violations() -> Result<Vec<String>, String> {
    let root = install::workspace();
    let mut found = Vec::new();
    for file in tracked(&root)? {
        // A file deleted but not yet committed, or not text, has no lines.
        if let Ok(text) = fs::read_to_string(root.join(&file)) {
            found.extend(file_rules(&file, &text));
        }
    }
    found.extend(licences(&root));
    let metadata = metadata()?;
    found.extend(crate_licences(&metadata));
    found.extend(edge_rules(
        &edges(&metadata),
        fs::read_to_string(root.join(EDGES)).ok().as_deref(),
    ));
    for (package, prune) in [("tenure-core", None), ("tenure-replica", Some("raft"))] {
        found.extend(purity(package, &dependencies(&root, package, prune)?));
    }
    Ok(found)
}

/// Tracked files and new ones that are not ignored.
fn tracked(root: &Path) -> Result<Vec<PathBuf>, String> {
    let listed = output(
        Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(root),
    )?;
    Ok(listed.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from).collect())
}

/// The rules a single file can break.
fn file_rules(file: &Path, text: &str) -> Vec<String> {
    let name = file.display();
    if file.ends_with("Cargo.lock") {
        return lock_rules(&name.to_string(), text);
    }
    let source = file.extension().is_some_and(|extension| extension == "rs");
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let at = format!("{name}:{}", index + 1);
        for word in spelled(&HOSTS).filter(|word| line.contains(word)) {
            found.push(format!("{at}: names the host {word}"));
        }
        for word in spelled(&PATHS).filter(|word| line.contains(word)) {
            found.push(format!("{at}: names a path of one machine ({word})"));
        }
        if file.starts_with(FACADE) && mixes_features(line) {
            found.push(format!(
                "{at}: asks for more than one feature, or for the lack of one; the check of the \
                 mixes relies on that nothing does"
            ));
        }
        for word in spelled(&UNFINISHED).filter(|word| source && line.contains(word)) {
            found.push(format!("{at}: contains {word}"));
        }
    }
    if source && !text.starts_with("//!") {
        found.push(format!("{name}:1: does not begin with `//!` and what the file is for"));
    }
    let lines = text.lines().count();
    if source && lines > LONGEST_FILE {
        found.push(format!("{name}: {lines} lines, {LONGEST_FILE} are allowed; split it"));
    }
    found
}

/// Whether a line's condition is more than one feature that is on.
fn mixes_features(line: &str) -> bool {
    let condition = line.contains("cfg(") || line.contains("cfg!(");
    let single = line.contains("cfg(feature = ") || line.contains("cfg!(feature = ");
    condition && line.contains("feature") && !single
}

fn lock_rules(name: &str, text: &str) -> Vec<String> {
    let expected = format!("source = \"{}\"", SOURCE.concat());
    let foreign = |line: &str| line.starts_with("source = ") && line != expected;
    text.lines()
        .enumerate()
        .filter(|(_, line)| foreign(line))
        .map(|(index, line)| format!("{name}:{}: unexpected {line}", index + 1))
        .collect()
}

fn spelled(words: &[[&str; 2]]) -> impl Iterator<Item = String> {
    words.iter().map(|pieces| pieces.concat())
}

fn licences(root: &Path) -> Vec<String> {
    ["LICENSE-MIT", "LICENSE-APACHE"]
        .iter()
        .filter(|name| fs::metadata(root.join(name)).map_or(0, |file| file.len()) == 0)
        .map(|name| format!("{name}: missing or empty"))
        .collect()
}

fn crate_licences(metadata: &Value) -> Vec<String> {
    packages(metadata)
        .filter(|package| package["license"] != "MIT OR Apache-2.0")
        .map(|package| format!("{}: licence is {}", package["name"], package["license"]))
        .collect()
}

fn packages(metadata: &Value) -> impl Iterator<Item = &Value> {
    metadata["packages"].as_array().into_iter().flatten()
}

/// One line per dependency of one workspace crate on another, sorted.
fn edges(metadata: &Value) -> String {
    let members: BTreeSet<&str> =
        packages(metadata).filter_map(|package| package["name"].as_str()).collect();
    let mut lines = BTreeSet::new();
    for package in packages(metadata) {
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let to = dependency["name"].as_str().unwrap_or_default();
            if dependency["path"].is_string() && members.contains(to) {
                let from = package["name"].as_str().unwrap_or_default();
                let kind = dependency["kind"].as_str().map(|kind| format!(" ({kind})"));
                lines.insert(format!("{from} -> {to}{}\n", kind.unwrap_or_default()));
            }
        }
    }
    lines.into_iter().collect()
}

fn edge_rules(present: &str, recorded: Option<&str>) -> Vec<String> {
    let Some(recorded) = recorded else {
        return vec![format!("{EDGES}: missing (cargo xtask tidy --write-edges)")];
    };
    let is: BTreeSet<&str> = present.lines().collect();
    let was: BTreeSet<&str> = recorded.lines().collect();
    let added = is.difference(&was).map(|edge| format!("{EDGES}: new edge {edge}"));
    let gone = was.difference(&is).map(|edge| format!("{EDGES}: edge is gone: {edge}"));
    let mut found: Vec<String> = added.chain(gone).collect();
    if found.is_empty() && recorded != present {
        found.push(format!("{EDGES}: not sorted"));
    }
    if !found.is_empty() {
        found.push(format!("{EDGES}: if that is meant, cargo xtask tidy --write-edges"));
    }
    found
}

/// The workspace's own packages, without their dependencies.
fn metadata() -> Result<Value, String> {
    let text = output(
        install::cargo()
            .args(["metadata", "--format-version=1", "--no-deps"])
            .current_dir(install::workspace()),
    )?;
    serde_json::from_str(&text).map_err(|error| format!("cargo metadata: {error}"))
}

/// Names in the tree of a package's normal dependencies, not going into `prune`.
fn dependencies(root: &Path, package: &str, prune: Option<&str>) -> Result<String, String> {
    let mut tree = install::cargo();
    tree.args(["tree", "--edges=normal", "--prefix=none", "--format={p}", "--package", package]);
    if let Some(prune) = prune {
        tree.args(["--prune", prune]);
    }
    output(tree.current_dir(root))
}

fn purity(package: &str, tree: &str) -> Vec<String> {
    let reached: BTreeSet<&str> =
        tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
    IMPURE
        .iter()
        .filter(|name| reached.contains(*name))
        .map(|name| format!("{package}: depends on {name}, but is meant to be pure"))
        .collect()
}

fn output(command: &mut Command) -> Result<String, String> {
    let said = command.output().map_err(|error| error.to_string()).and_then(|output| {
        if output.status.success() {
            String::from_utf8(output.stdout).map_err(|error| error.to_string())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
        }
    });
    said.map_err(|why| format!("{} failed: {why}", command.get_program().to_string_lossy()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(file: &str, text: &str) -> usize {
        file_rules(Path::new(file), text).len()
    }

    #[test]
    fn no_code_of_the_library_asks_for_two_features() {
        for (cfg, rules) in [
            ("#[cfg(feature = \"redis\")]", 0),
            ("#[cfg(test)]", 0),
            ("#[cfg(any(feature = \"redis\", feature = \"etcd\"))]", 1),
            ("if cfg!(not(feature = \"quorum\")) {}", 1),
        ] {
            let text = format!("//! Fine.\n{cfg}\n");
            assert_eq!(broken("crates/tenure/src/a.rs", &text), rules, "{cfg}");
            assert_eq!(broken("crates/tenure-cli/src/a.rs", &text), 0, "{cfg}");
        }
    }

    #[test]
    fn a_clean_file_breaks_no_rule() {
        assert_eq!(broken("a.rs", "//! Fine.\nfn main() {}\n"), 0);
        assert_eq!(broken("a.md", "# Fine\n"), 0);
    }

    #[test]
    fn hosts_and_machine_paths_are_found_in_any_text() {
        for word in spelled(&HOSTS).chain(spelled(&PATHS)) {
            assert!(broken("a.md", &format!("see {word}x")) >= 1, "{word}");
        }
    }

    #[test]
    fn unfinished_code_is_found_in_sources_only() {
        for word in spelled(&UNFINISHED) {
            assert_eq!(broken("a.rs", &format!("//! A.\n{word}")), 1, "{word}");
            assert_eq!(broken("a.md", &word), 0, "{word}");
        }
    }

    #[test]
    fn a_source_says_what_it_is_for_and_stays_short() {
        assert_eq!(broken("a.rs", "fn main() {}\n"), 1);
        assert_eq!(broken("a.rs", &format!("//! A.\n{}", "\n".repeat(LONGEST_FILE - 1))), 0);
        assert_eq!(broken("a.rs", &format!("//! A.\n{}", "\n".repeat(LONGEST_FILE))), 1);
    }

    #[test]
    fn the_lock_file_names_one_source() {
        let good = format!("source = \"{}\"\n", SOURCE.concat());
        assert_eq!(broken("Cargo.lock", &good), 0);
        assert_eq!(broken("Cargo.lock", "source = \"registry+https://mirror.example/\"\n"), 1);
    }

    #[test]
    fn edges_are_compared_both_ways() {
        assert!(edge_rules("a -> b\n", Some("a -> b\n")).is_empty());
        assert_eq!(edge_rules("a -> b\n", Some("")).len(), 2);
        assert_eq!(edge_rules("", Some("a -> b\n")).len(), 2);
        assert_eq!(edge_rules("a -> b\na -> c\n", Some("a -> c\na -> b\n")).len(), 2);
        assert_eq!(edge_rules("", None).len(), 1);
    }

    #[test]
    fn a_pure_crate_reaches_no_runtime() {
        assert!(purity("x", "x v0.1.0\nserde v1.0.0\n").is_empty());
        assert_eq!(purity("x", "x v0.1.0\ntokio v1.0.0 (*)\n").len(), 1);
    }
}
