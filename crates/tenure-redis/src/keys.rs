//! Names of keys and channels.
//!
//! All share the hash tag `{prefix}`, so that on a Redis Cluster they lie in one slot: one
//! script can then renew everything that a session holds, and see the witness beside it. Many
//! elections are spread over a Cluster by several prefixes.

use tenure_core::ElectionName;

#[derive(Debug, Clone)]
pub(crate) struct Keys {
    tag: String,
    channels: String,
}

impl Keys {
    pub(crate) fn new(prefix: &str, database: i64) -> Self {
        let tag = format!("{{{prefix}}}:");
        // Channels are the same for all databases of a server.
        let channels = format!("{tag}news:{database}:");
        Self { tag, channels }
    }

    /// Which start of the server was seen last, and since when.
    pub(crate) fn witness(&self) -> String {
        format!("{}server", self.tag)
    }

    /// Who holds an election: expires with the lease.
    pub(crate) fn lease(&self, election: &ElectionName) -> String {
        format!("{}lease:{election}", self.tag)
    }

    /// Its last token: never expires.
    pub(crate) fn record(&self, election: &ElectionName) -> String {
        format!("{}record:{election}", self.tag)
    }

    /// The last slot of its work that was taken: never expires.
    pub(crate) fn slot(&self, election: &ElectionName) -> String {
        format!("{}slot:{election}", self.tag)
    }

    /// For whom it is kept.
    pub(crate) fn next(&self, election: &ElectionName) -> String {
        format!("{}next:{election}", self.tag)
    }

    /// Where changes of it are told.
    pub(crate) fn channel(&self, election: &ElectionName) -> String {
        format!("{}{election}", self.channels)
    }

    /// The election of a channel.
    pub(crate) fn election(&self, channel: &str) -> Option<ElectionName> {
        ElectionName::new(channel.strip_prefix(&self.channels)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_name_their_election() {
        let election = ElectionName::new("a:b/c").unwrap();
        let keys = Keys::new("x", 3);
        assert_eq!(keys.election(&keys.channel(&election)), Some(election.clone()));
        assert_eq!(keys.election(&Keys::new("x", 4).channel(&election)), None);
        assert_eq!(keys.lease(&election), "{x}:lease:a:b/c");
    }
}
