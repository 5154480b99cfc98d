//! Whether a server can hold leases, by what it says about itself.

use std::collections::BTreeMap;

use crate::trouble::Trouble;

/// The answer to `INFO`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Health(BTreeMap<String, String>);

impl Health {
    pub(crate) fn read(info: &str) -> Self {
        let lines = info.lines().filter_map(|line| line.split_once(':'));
        Self(lines.map(|(key, value)| (key.to_owned(), value.trim().to_owned())).collect())
    }

    fn get(&self, key: &str) -> &str {
        self.0.get(key).map_or("", String::as_str)
    }

    fn number(&self, key: &str) -> u64 {
        self.get(key).parse().unwrap_or(0)
    }

    pub(crate) fn version(&self) -> &str {
        self.get("redis_version")
    }

    /// Refuses what would lose leases, or is not what it should be.
    pub(crate) fn check(&self) -> Result<(), Trouble> {
        if self.get("redis_mode") == "sentinel" {
            return Err(Trouble::unusable(
                "this is a Sentinel. Use redis+sentinel://host:port,host:port/name",
            ));
        }
        if self.version().is_empty() {
            return Err(Trouble::unusable(
                "it answers, but not with INFO as Redis gives it. Check host and port",
            ));
        }
        if self.number("loading") != 0 {
            return Err(Trouble::not_now("Redis has just been started and loads its data"));
        }
        if self.get("role") == "slave" {
            return Err(Trouble::not_now(format!(
                "this Redis is a replica of {}:{}. Name the primary, or let the sentinels find \
                 it: redis+sentinel://host:port,host:port/name",
                self.get("master_host"),
                self.get("master_port")
            )));
        }
        let policy = self.get("maxmemory_policy");
        if self.number("maxmemory") > 0 && policy != "noeviction" {
            return Err(Trouble::unusable(format!(
                "maxmemory-policy is {policy}: when Redis is full it would throw leases away, and \
                 two candidates would lead. Set it to noeviction, or give the elections a Redis \
                 of their own"
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(lines: &str) -> Result<(), Trouble> {
        let text = format!("# Server\r\nredis_version:7.0.15\r\nrole:master\r\n{lines}");
        Health::read(&text).check()
    }

    #[test]
    fn only_a_primary_that_keeps_its_keys_is_used() {
        judged("maxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\n").unwrap();
        judged("maxmemory:9\r\nmaxmemory_policy:noeviction\r\n").unwrap();
        for (lines, says) in [
            ("maxmemory:9\r\nmaxmemory_policy:volatile-ttl\r\n", "noeviction"),
            ("role:slave\r\nmaster_host:h\r\nmaster_port:7\r\n", "replica of h:7"),
            ("redis_mode:sentinel\r\n", "redis+sentinel"),
            ("loading:1\r\n", "loads its data"),
        ] {
            let trouble = judged(lines).unwrap_err();
            assert!(trouble.why.contains(says), "{trouble:?}");
        }
        assert!(Health::read("hello").check().is_err());
    }
}
