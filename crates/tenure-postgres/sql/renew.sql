-- $1 longest wait for a lock, $2 process, $3 session, $4 elections, $5 tokens, $6 ttls in ms
WITH here AS MATERIALIZED ({here})
UPDATE {leases} AS lease
   SET expires_at = here.now + hold.ttl_ms * interval '1 millisecond'
  FROM here, unnest($4, $5, $6) AS hold (election, token, ttl_ms)
 WHERE lease.election = hold.election
   AND lease.token = hold.token
   AND lease.process = $2
   AND lease.session = $3
   AND lease.expires_at > here.now
RETURNING lease.election
