-- Elections of Tenure. Everything here may run again and changes nothing that is there.
-- A row of {leases} must never be deleted: with it the election's holder is forgotten.
CREATE TABLE IF NOT EXISTS {leases} (
    election       text COLLATE "C" PRIMARY KEY,
    revision       bigint NOT NULL,
    token          bigint NOT NULL,
    process        bigint NOT NULL,
    session        bigint NOT NULL,
    candidate      text NOT NULL,
    value          text NOT NULL,
    ttl_ms         bigint NOT NULL,
    since          timestamptz NOT NULL,
    expires_at     timestamptz NOT NULL,
    reserved_for   text,
    reserved_until timestamptz
) WITH (fillfactor = 50); -- a renewal rewrites its row in place, no index is touched
CREATE INDEX IF NOT EXISTS {index} ON {leases} (process, session);
CREATE TABLE IF NOT EXISTS {line} (
    only_row    boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    format      integer NOT NULL,
    lineage     text NOT NULL,
    quiet_until timestamptz NOT NULL,
    longest_ms  bigint NOT NULL
);
INSERT INTO {line} (format, lineage, quiet_until, longest_ms)
SELECT {format}, {lineage}, 'epoch', 0
ON CONFLICT DO NOTHING;
