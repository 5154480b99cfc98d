//! Who takes part.

use std::path::PathBuf;

use super::End;

/// A way to hold elections on a store: a program that takes `URL ELECTION ID TTL_MS` and says
/// what `testkit-candidate` says.
#[derive(Debug, Clone)]
pub struct Contestant {
    /// For people.
    pub name: String,
    /// The store.
    pub store: String,
    /// What it is.
    pub kind: Kind,
    /// The program.
    pub program: PathBuf,
    /// Where the store is, as that program wants to know it.
    pub url: String,
    /// It says `campaigning` before it waits.
    pub announces: bool,
    /// More arguments for the program.
    pub more: Vec<String>,
    /// What it takes part in: a client whose ttl cannot be set is not killed.
    pub ends: Vec<End>,
}

/// What a contestant is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Ours, with its default settings.
    Ours,
    /// Ours, when nothing proves a death, as between two machines.
    LeaseOnly,
    /// The store's usual client, which is told of a change.
    Usual,
    /// A usual client that asks again and again.
    Polling,
}

impl Contestant {
    /// For names of elections.
    pub(super) fn tag(&self) -> String {
        self.name.chars().filter(char::is_ascii_alphanumeric).collect()
    }
}
