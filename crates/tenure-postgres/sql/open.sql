-- $1 longest wait for a lock, $2 ttl in ms
WITH here AS MATERIALIZED ({here}), kept AS ({keep_line})
SELECT count(*) FROM kept
