//! Who takes part.

use std::path::PathBuf;

/// A way to hold elections on a store: a program that takes `URL ELECTION ID TTL_MS` and says
/// what `testkit-candidate` says.
#[derive(Debug, Clone)]
pub struct Contestant {
    /// For people.
    pub name: String,
    /// The store.
    pub store: String,
    /// Ours, or the store's usual client.
    pub ours: bool,
    /// The program.
    pub program: PathBuf,
    /// Where the store is, as that program wants to know it.
    pub url: String,
    /// It says `campaigning` before it waits.
    pub announces: bool,
}

impl Contestant {
    /// For names of elections.
    pub(super) fn tag(&self) -> String {
        self.name.chars().filter(char::is_ascii_alphanumeric).collect()
    }
}
