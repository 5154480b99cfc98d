//! What Redis complains about: what happened, why, and what to do.

use redis::{ErrorKind, RedisError};
use tenure_core::backend::{ConnectError, StoreError};

/// Why Redis could not do something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) kind: Kind,
    /// In words.
    pub(crate) why: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// No answer: what became of the request is unknown.
    Silent,
    /// An answer that says not now; nothing was changed.
    NotNow,
    /// Somebody must change a setting first.
    Unusable,
}

/// How an answer of Redis begins, whether the server is the wrong one now, and what it means.
const ANSWERS: [(&str, Kind, bool, &str); 13] = [
    (
        "OOM",
        Kind::NotNow,
        false,
        "Redis is full (-OOM): it takes no new leases, what is held can still be renewed. Raise \
         maxmemory, or delete what is not needed",
    ),
    (
        "MISCONF",
        Kind::NotNow,
        false,
        "Redis cannot save its data (-MISCONF) and takes no writes, renewals neither. Look at \
         its log and at the disk it saves to; stop-writes-on-bgsave-error no lets it go on \
         without saving",
    ),
    (
        "READONLY",
        Kind::NotNow,
        true,
        "this Redis is a replica (-READONLY). Name the primary, or let the sentinels find it: \
         redis+sentinel://host:port,host:port/name",
    ),
    (
        "LOADING",
        Kind::NotNow,
        true,
        "Redis has just been started and loads its data (-LOADING). It is asked again",
    ),
    (
        "NOREPLICAS",
        Kind::NotNow,
        false,
        "too few replicas are in contact with Redis (-NOREPLICAS, min-replicas-to-write), so it \
         takes no writes. Bring a replica back",
    ),
    (
        "MASTERDOWN",
        Kind::NotNow,
        true,
        "this Redis is a replica that has lost its primary (-MASTERDOWN). Name the primary",
    ),
    (
        "BUSY",
        Kind::NotNow,
        false,
        "Redis is busy with a script that does not end (-BUSY). SCRIPT KILL ends it",
    ),
    (
        "CLUSTERDOWN",
        Kind::NotNow,
        true,
        "the Redis Cluster is down (-CLUSTERDOWN): some slot has no server",
    ),
    (
        "MOVED",
        Kind::Unusable,
        true,
        "this node of a Redis Cluster does not hold the slot of the keys (-MOVED). Name the one \
         that does (CLUSTER KEYSLOT says the slot of {tenure}, or of {prefix}), or choose \
         another prefix",
    ),
    (
        "NOAUTH",
        Kind::Unusable,
        false,
        "Redis wants a password (-NOAUTH). Give it in the URL: redis://user:password@host:port",
    ),
    (
        "WRONGPASS",
        Kind::Unusable,
        false,
        "Redis does not accept this user and password (-WRONGPASS). Check both; characters such \
         as @ : / ? % are written as %40 %3A %2F %3F %25 in a URL",
    ),
    (
        "NOPERM",
        Kind::Unusable,
        false,
        "this user may not do what is needed (-NOPERM). It needs: ACL SETUSER name on >password \
         ~{tenure}:* &{tenure}:* +@read +@write +@scripting +@pubsub +@connection +info +time",
    ),
    (
        "DENIED",
        Kind::Unusable,
        false,
        "Redis is in protected mode (-DENIED) and answers only to its own machine. Set a \
         password, or bind it to an address of its own",
    ),
];

impl Trouble {
    pub(crate) fn silent(why: impl Into<String>) -> Self {
        Self { kind: Kind::Silent, why: why.into() }
    }

    pub(crate) fn not_now(why: impl Into<String>) -> Self {
        Self { kind: Kind::NotNow, why: why.into() }
    }

    pub(crate) fn unusable(why: impl Into<String>) -> Self {
        Self { kind: Kind::Unusable, why: why.into() }
    }

    /// For an operation.
    pub(crate) fn of_store(&self) -> StoreError {
        let why = self.why.clone();
        match self.kind {
            Kind::Silent => StoreError::Unavailable { why },
            Kind::NotNow | Kind::Unusable => StoreError::Refused { why },
        }
    }

    /// For whoever wants to use the store.
    pub(crate) fn of_connect(&self, store: &str) -> ConnectError {
        let (store, why) = (store.to_owned(), self.why.clone());
        match self.kind {
            Kind::Silent | Kind::NotNow => ConnectError::Unavailable { store, why },
            Kind::Unusable => ConnectError::Unusable { store, why },
        }
    }
}

/// What an error means, and whether the connection is of no use any more.
pub(crate) fn understood(error: &RedisError) -> (Trouble, bool) {
    let said = said(error);
    if let Some((_, kind, elsewhere, means)) =
        ANSWERS.iter().find(|(begins, ..)| speaks_of(&said, begins))
    {
        return (Trouble { kind: *kind, why: String::from(*means) }, *elsewhere);
    }
    match error.kind() {
        ErrorKind::AuthenticationFailed => {
            let why = format!("Redis does not let this user in: {said}. Check user and password");
            (Trouble::unusable(why), true)
        }
        ErrorKind::Parse => {
            let why = format!(
                "what it says is not the protocol of Redis ({said}). Check host and port: \
                 something else may listen there, or it may want TLS (rediss://)"
            );
            (Trouble::unusable(why), true)
        }
        ErrorKind::InvalidClientConfig | ErrorKind::Client => (Trouble::unusable(said), true),
        ErrorKind::Server(_) | ErrorKind::Extension | ErrorKind::UnexpectedReturnType => {
            (Trouble::not_now(format!("Redis refuses it: {said}")), false)
        }
        _ if error.is_timeout() => (Trouble::silent("no answer came in time"), true),
        _ => (Trouble::silent(said), true),
    }
}

/// Code and text of an error, without the words that the client library puts around them.
fn said(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        (Some(code), None) => code.to_owned(),
        _ => error.to_string(),
    }
}

/// Redis 7 puts the code first, older ones quote it inside of `-ERR Error running script`.
fn speaks_of(said: &str, code: &str) -> bool {
    let mut words = said.split(|c: char| !c.is_ascii_uppercase());
    words.any(|word| word == code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server_error(line: &str) -> RedisError {
        let answer = redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap();
        answer.extract_error().unwrap_err()
    }

    #[test]
    fn answers_are_understood_from_old_and_new_servers() {
        for (line, kind, elsewhere, says) in [
            (
                "OOM command not allowed when used memory > 'maxmemory'. script: ab, on @x:1.",
                Kind::NotNow,
                false,
                "maxmemory",
            ),
            (
                "ERR Error running script (call to f_ab): @user_script:12: @user_script: 12: -OOM \
              command not allowed",
                Kind::NotNow,
                false,
                "maxmemory",
            ),
            ("MISCONF Redis is configured to save RDB snapshots", Kind::NotNow, false, "disk"),
            (
                "READONLY You can't write against a read only replica.",
                Kind::NotNow,
                true,
                "primary",
            ),
            ("LOADING Redis is loading the dataset in memory", Kind::NotNow, true, "asked again"),
            ("NOREPLICAS Not enough good replicas to write.", Kind::NotNow, false, "replica"),
            ("NOAUTH Authentication required.", Kind::Unusable, false, "password"),
            ("WRONGPASS invalid username-password pair", Kind::Unusable, false, "%40"),
            ("NOPERM this user has no permissions", Kind::Unusable, false, "ACL SETUSER"),
            ("DENIED Redis is running in protected mode", Kind::Unusable, false, "protected"),
            ("MOVED 3999 127.0.0.1:6381", Kind::Unusable, true, "slot"),
            ("ERR something of its own", Kind::NotNow, false, "something of its own"),
        ] {
            let (trouble, broken) = understood(&server_error(line));
            assert_eq!((trouble.kind, broken), (kind, elsewhere), "{line}: {trouble:?}");
            assert!(trouble.why.contains(says), "{line}: {trouble:?}");
        }
    }
}
