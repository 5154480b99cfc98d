-- $1 longest wait for a lock, $2 ttl in ms, $3 election, $4 process, $5 session, $6 candidate,
-- $7 value
WITH here AS MATERIALIZED ({here}),
     kept AS ({keep_line}),
     -- No lease lasts longer than its ttl: the clock was set back since it was renewed.
     capped AS (
         UPDATE {leases} AS lease
            SET expires_at = here.now + lease.ttl_ms * interval '1 millisecond'
           FROM here
          WHERE lease.election = $3 AND lease.process <> $4
            AND lease.expires_at > here.now + lease.ttl_ms * interval '1.5 milliseconds'
     ),
     may AS (
         SELECT here.now, (extract(epoch FROM here.now) * 1000000)::bigint AS micros
           FROM here, {line} AS line
          -- After a failover nobody is granted anything until whatever the old server may
          -- have granted, and this one never heard of, has run out.
          WHERE line.lineage = here.lineage AND line.quiet_until <= here.now
     ),
     granted AS (
         INSERT INTO {leases} AS lease
                (election, revision, token, process, session, candidate, value, ttl_ms,
                 since, expires_at)
         SELECT $3, may.micros, may.micros, $4, $5, $6, $7, $2,
                may.now, may.now + $2 * interval '1 millisecond'
           FROM may
          -- A refusal writes nothing and locks nothing. The decision itself is made below, on
          -- the row as it is once it is locked.
          WHERE NOT EXISTS (
                SELECT FROM {leases} AS lease
                 WHERE lease.election = $3
                   AND NOT ({own_seen} OR {older_seen} OR {free_seen}))
         ON CONFLICT (election) DO UPDATE SET
                revision = CASE WHEN {own} THEN lease.revision
                                ELSE greatest(lease.revision + 1, EXCLUDED.revision) END,
                token = CASE WHEN {own} THEN lease.token
                             ELSE greatest(lease.revision + 1, EXCLUDED.token) END,
                since = CASE WHEN {own} THEN lease.since ELSE EXCLUDED.since END,
                process = EXCLUDED.process,
                session = EXCLUDED.session,
                candidate = EXCLUDED.candidate,
                value = EXCLUDED.value,
                ttl_ms = EXCLUDED.ttl_ms,
                expires_at = EXCLUDED.expires_at,
                reserved_for = NULL,
                reserved_until = NULL
          WHERE {own} OR {older} OR {free}
         RETURNING *
     ),
     stands AS (
         SELECT * FROM granted
         UNION ALL
         SELECT * FROM {leases} WHERE election = $3 AND NOT EXISTS (SELECT FROM granted)
     )
SELECT {holding}, EXISTS (SELECT FROM granted WHERE granted.since = here.now) AS fresh
  FROM here CROSS JOIN {line} AS line LEFT JOIN stands AS lease ON true
