-- Tokens of these accounts that were made before then are over, also those that nothing else is on record of. An empty
-- account is everyone.
CREATE TABLE ended_token (
    number INTEGER PRIMARY KEY,
    account TEXT NOT NULL,
    before INTEGER NOT NULL
);
