//! What a store can promise, as data: printed, compared, demanded.

use alloc::string::String;
use core::{fmt, time::Duration};

use crate::timing::Ttl;

/// Whether a promise holds on a store as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guarantee {
    /// Always.
    Yes,
    /// As long as this condition holds.
    If(String),
    /// Not, for this reason.
    No(String),
}

impl Guarantee {
    /// Holds without any condition.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        *self == Self::Yes
    }
}

impl fmt::Display for Guarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Yes => f.write_str("yes"),
            Self::If(condition) => write!(f, "as long as {condition}"),
            Self::No(reason) => write!(f, "no: {reason}"),
        }
    }
}

/// What a store, as configured, can promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// The store, for people: `redis`, `etcd`, ...
    pub store: String,
    /// Shortest lease that it can keep.
    pub shortest_ttl: Duration,
    /// Leases are multiples of this; a ttl is rounded up to one.
    pub ttl_step: Duration,
    /// Whose clock ends a lease.
    pub expired_by: String,
    /// At most one valid holder at any instant of true time.
    pub one_holder: Guarantee,
    /// Tokens only go up, through crashes and failovers of the store too.
    pub monotonic_token: Guarantee,
    /// Changes are pushed to whoever follows.
    pub pushed: Guarantee,
    /// Candidates are granted in the order of their arrival.
    pub queue: bool,
    /// Leadership can be handed to a named candidate.
    pub transfer: bool,
    /// The store itself lets a lease live longer than the ttl by the drift, as the embedded
    /// quorum does; otherwise the holder must take off more.
    pub pads_leases: bool,
    /// Longest time without a leader after a holder was killed, beyond the ttl.
    pub expiry_delay: Duration,
}

impl Capabilities {
    /// The lease that the store keeps when this one is asked for.
    ///
    /// # Errors
    /// The shortest one that works, when this one is too short.
    pub fn lease(&self, asked: Ttl) -> Result<Ttl, Duration> {
        let step = self.ttl_step.as_millis().max(1);
        let rounded = asked.get().as_millis().div_ceil(step) * step;
        let rounded = Duration::from_millis(u64::try_from(rounded).unwrap_or(u64::MAX));
        if asked.get() < self.shortest_ttl {
            return Err(self.shortest_ttl);
        }
        Ttl::new(rounded).map_err(|_| self.shortest_ttl)
    }

    /// Longest time without a leader after the process that held it, or its host, died.
    #[must_use]
    pub fn worst_failover(&self, ttl: Ttl) -> Duration {
        ttl.get() + self.expiry_delay
    }

    /// Checks a guarantee that a user demands by name.
    ///
    /// # Errors
    /// The reason, in words, when the store cannot give it, or there is none of that name.
    pub fn require(&self, name: &str) -> Result<(), String> {
        let guarantee = match name {
            "one-holder" => &self.one_holder,
            "monotonic-token" => &self.monotonic_token,
            "push" => &self.pushed,
            "queue" if self.queue => return Ok(()),
            "transfer" if self.transfer => return Ok(()),
            "queue" | "transfer" => {
                return Err(alloc::format!("{} has no {name}", self.store));
            }
            _ => {
                return Err(alloc::format!(
                    "there is no guarantee {name:?}: one-holder, monotonic-token, push, queue \
                     and transfer can be required"
                ));
            }
        };
        if guarantee.is_certain() {
            return Ok(());
        }
        Err(alloc::format!("{} promises {name} {guarantee}", self.store))
    }
}
