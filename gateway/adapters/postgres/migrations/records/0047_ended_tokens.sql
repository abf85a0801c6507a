-- Tokens of these accounts that were made before then are over, also those that nothing else is on record of. An empty
-- account is everyone.
CREATE TABLE ended_token (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account text NOT NULL,
    before bigint NOT NULL
);
