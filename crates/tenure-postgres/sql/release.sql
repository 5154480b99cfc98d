-- $1 longest wait for a lock, $2 election, $3 process, $4 session, $5 token,
-- $6 successor or null, $7 for how long it goes first, in ms
WITH here AS MATERIALIZED ({here}),
     released AS (
         UPDATE {leases} AS lease
            SET expires_at = 'epoch',
                revision = lease.revision + 1,
                reserved_for = $6,
                reserved_until = CASE WHEN $6 IS NULL THEN NULL
                                      ELSE here.now + $7 * interval '1 millisecond' END
           FROM here
          WHERE lease.election = $2 AND lease.process = $3 AND lease.session = $4
            AND lease.token = $5 AND lease.expires_at <> 'epoch'
         RETURNING 1
     )
-- Asked again after its answer was lost, it is answered as it was the first time.
SELECT EXISTS (SELECT FROM released) OR EXISTS (
       SELECT FROM {leases} AS lease
        WHERE lease.election = $2 AND lease.process = $3 AND lease.session = $4
          AND lease.token = $5 AND lease.expires_at = 'epoch') AS released
