-- $1 channel, $2 elections. A hint that is lost costs time, nothing else: its transaction does
-- not wait for the disk while it holds the lock that makes all notifying commits queue.
SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, election)
  FROM unnest($2) AS election
