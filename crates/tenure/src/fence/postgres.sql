-- A fence in PostgreSQL, by Tenure. It may be run again at any time, and keeps all marks.
--
-- In any language, in the transaction that writes:
--
--     BEGIN;
--     SELECT tenure_admit('billing', 42);   -- the resource, and the leader's token
--     UPDATE accounts ...;
--     COMMIT;
--
-- A token that is not the newest ends the transaction with SQLSTATE TF001. Until the
-- transaction ends nobody is admitted with a newer token, so it cannot be overtaken either.
-- Call it as soon as you are elected: from then on nothing of a former leader comes through.
--
-- Or let the table refuse whoever comes without a current token, whatever it runs:
--
--     CREATE TRIGGER fence BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON accounts
--        FOR EACH STATEMENT EXECUTE FUNCTION tenure_guard('billing');
--
--     BEGIN;
--     SET LOCAL tenure.token = '42';
--     UPDATE accounts ...;
--     COMMIT;

CREATE TABLE IF NOT EXISTS tenure_fence (
    resource text COLLATE "C" PRIMARY KEY,
    token    bigint NOT NULL,
    since    timestamptz NOT NULL
);

CREATE OR REPLACE FUNCTION tenure_admit(admit_resource text, admit_token bigint)
RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    newest bigint;
BEGIN
    IF admit_resource IS NULL OR admit_token IS NULL THEN
        RAISE EXCEPTION 'a resource and a token are needed' USING ERRCODE = 'TF002';
    END IF;
    SELECT token INTO newest FROM tenure_fence WHERE resource = admit_resource;
    IF newest IS NULL OR newest < admit_token THEN
        -- A new leader. It waits here for the transactions of the former one.
        INSERT INTO tenure_fence AS fence (resource, token, since)
        VALUES (admit_resource, admit_token, clock_timestamp())
        ON CONFLICT (resource) DO UPDATE SET token = EXCLUDED.token, since = EXCLUDED.since
         WHERE fence.token < EXCLUDED.token;
    END IF;
    -- Shared by all transactions of one leader, and in the way of the next one.
    SELECT token INTO newest FROM tenure_fence WHERE resource = admit_resource FOR SHARE;
    IF newest > admit_token THEN
        RAISE EXCEPTION 'token % of % is stale: % was presented since, so another one leads',
                        admit_token, admit_resource, newest
              USING ERRCODE = 'TF001',
                    HINT = 'Stop: leadership was lost. Contend again and use the new token.';
    END IF;
END $$;

CREATE OR REPLACE FUNCTION tenure_guard()
RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    presented text := nullif(current_setting('tenure.token', true), '');
BEGIN
    IF presented IS NULL THEN
        RAISE EXCEPTION 'writes to % need a token', TG_TABLE_NAME
              USING ERRCODE = 'TF002',
                    HINT = 'In the same transaction, before: SET LOCAL tenure.token = ''TOKEN''';
    END IF;
    PERFORM tenure_admit(TG_ARGV[0], presented::bigint);
    RETURN NULL;
END $$;
