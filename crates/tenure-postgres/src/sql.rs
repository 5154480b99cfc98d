//! The statements, with the names of the tables filled in.
//!
//! Each is one statement and so one transaction of its own: nothing rides on the session of a
//! connection, so a transaction pooler in between breaks none of them.

/// Format of the tables that this version reads and writes.
pub(crate) const FORMAT: i32 = 1;

/// Which server this is, and which branch of its history: a restart keeps it, a promoted
/// standby or a restored backup has another one.
const LINEAGE: &str = "(SELECT system_identifier::text FROM pg_control_system()) || '/' \
                       || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)";

/// The clock that judges, taken once; and what must hold for this transaction, set in it.
const HERE: &str = "SELECT clock_timestamp() AS now, {lineage} AS lineage, \
                    set_config('lock_timeout', $1, true) AS lock_timeout, \
                    CASE WHEN current_setting('synchronous_commit') = 'off' \
                    THEN set_config('synchronous_commit', 'on', true) END AS durable";

/// Notes a failover, and the longest lease that anybody asks for.
const KEEP_LINE: &str = "UPDATE {line} AS line \
     SET lineage = here.lineage, \
         longest_ms = greatest(line.longest_ms, $2), \
         quiet_until = CASE WHEN line.lineage = here.lineage THEN line.quiet_until \
             ELSE here.now + greatest(line.longest_ms, $2) * interval '1 millisecond' END \
    FROM here \
   WHERE line.lineage <> here.lineage OR line.longest_ms < $2 \
   RETURNING 1";

/// How an election stands; `lease` may be missing.
const HOLDING: &str = "coalesce(lease.expires_at > here.now, false) AS held, \
     lease.process, lease.session, lease.candidate, lease.value, lease.token, lease.ttl_ms, \
     (extract(epoch FROM lease.since) * 1000000)::bigint AS since_micros, \
     lease.revision, line.longest_ms, \
     (extract(epoch FROM here.now) * 1000000)::bigint AS now_micros, \
     (CASE WHEN lease.expires_at > here.now \
           THEN least(extract(epoch FROM lease.expires_at - here.now), lease.ttl_ms / 1000.0) \
           ELSE greatest(extract(epoch FROM line.quiet_until - here.now), \
                         extract(epoch FROM lease.reserved_until - here.now)) \
      END * 1000000)::bigint AS wait_micros";

/// All statements on one pair of tables.
#[derive(Debug)]
pub(crate) struct Sql {
    pub(crate) schema: String,
    pub(crate) acquire: String,
    pub(crate) look: String,
    pub(crate) renew: String,
    pub(crate) release: String,
    pub(crate) close: String,
    pub(crate) open: String,
    pub(crate) hint: String,
    pub(crate) take: String,
    pub(crate) make_slots: String,
    pub(crate) slots: String,
    pub(crate) server: String,
    pub(crate) allowed: String,
    /// Checked identifiers, so they need no quotes: `schema.table`.
    pub(crate) leases: String,
    pub(crate) line: String,
    /// On which hand-overs are told.
    pub(crate) channel: String,
}

impl Sql {
    /// Both names are checked: small letters, digits and underscores.
    pub(crate) fn on(schema: &str, table: &str) -> Self {
        let (leases, line) = (format!("{schema}.{table}"), format!("{schema}.{table}_line"));
        let slots = format!("{schema}.{table}_slots");
        let now = ("EXCLUDED.since", "EXCLUDED.process", "EXCLUDED.session", "EXCLUDED.candidate");
        let seen = ("may.now", "$4", "$5", "$6");
        let fill = |text: &str| {
            text.replace("{here}", HERE)
                .replace("{keep_line}", KEEP_LINE)
                .replace("{holding}", HOLDING)
                .replace("{own}", &own(now, "="))
                .replace("{older}", &own(now, "<"))
                .replace("{free}", &free(now))
                .replace("{own_seen}", &own(seen, "="))
                .replace("{older_seen}", &own(seen, "<"))
                .replace("{free_seen}", &free(seen))
                .replace("{lineage}", LINEAGE)
                .replace("{format}", &FORMAT.to_string())
                .replace("{index}", &format!("{table}_process"))
                .replace("{slots}", &slots)
                .replace("{leases}", &leases)
                .replace("{line}", &line)
        };
        Self {
            schema: fill(include_str!("../sql/schema.sql")),
            acquire: fill(include_str!("../sql/acquire.sql")),
            look: fill(include_str!("../sql/look.sql")),
            renew: fill(include_str!("../sql/renew.sql")),
            release: fill(include_str!("../sql/release.sql")),
            close: fill(include_str!("../sql/close.sql")),
            open: fill(include_str!("../sql/open.sql")),
            hint: fill(include_str!("../sql/hint.sql")),
            take: fill(include_str!("../sql/take.sql")),
            make_slots: fill(include_str!("../sql/slots.sql")),
            server: fill(include_str!("../sql/server.sql")),
            allowed: fill(include_str!("../sql/allowed.sql")),
            channel: format!("{schema}.{table}"),
            leases,
            line,
            slots,
        }
    }
}

type Bidder = (&'static str, &'static str, &'static str, &'static str);

/// Held by this session (`=`), or by an older one of the same process (`<`).
fn own((now, process, session, _): Bidder, which: &str) -> String {
    format!(
        "(lease.process = {process} AND lease.session {which} {session} \
          AND lease.expires_at > {now})"
    )
}

/// Over, and not kept for another candidate.
fn free((now, _, _, candidate): Bidder) -> String {
    format!(
        "(lease.expires_at <= {now} \
          AND (lease.reserved_until IS NULL OR lease.reserved_until <= {now} \
               OR lease.reserved_for = {candidate}))"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_filled_in() {
        let sql = Sql::on("app", "jobs");
        let all = format!("{sql:?}");
        assert!(!all.contains('{') || all.matches('{').count() == 1, "{all}");
        assert!(sql.schema.contains("app.jobs_line"), "{}", sql.schema);
    }
}
