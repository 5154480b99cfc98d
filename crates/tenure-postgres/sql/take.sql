-- $1 longest wait for a lock, $2 election, $3 slot, $4 token
WITH here AS MATERIALIZED ({here})
INSERT INTO {slots} AS before (election, slot, token)
SELECT $2, $3, $4 FROM here
ON CONFLICT (election) DO UPDATE
   SET slot = greatest(before.slot, EXCLUDED.slot),
       token = CASE WHEN before.slot < EXCLUDED.slot THEN EXCLUDED.token ELSE before.token END
RETURNING slot, token
