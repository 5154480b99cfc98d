-- $1 longest wait for a lock, $2 process, $3 session, $4 channel
WITH here AS MATERIALIZED ({here}),
     released AS (
         UPDATE {leases} AS lease
            SET expires_at = 'epoch', revision = lease.revision + 1
           FROM here
          WHERE lease.process = $2 AND lease.session = $3 AND lease.expires_at > here.now
         RETURNING lease.election
     )
SELECT pg_notify($4, released.election) FROM released
