-- The last slot of each election's work that was taken: made when the first one is.
CREATE TABLE IF NOT EXISTS {slots} (
    election text COLLATE "C" PRIMARY KEY,
    slot     text COLLATE "C" NOT NULL,
    token    bigint NOT NULL
)
