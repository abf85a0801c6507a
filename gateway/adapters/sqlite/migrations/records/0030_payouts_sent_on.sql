-- What the provider pays out of owners' accounts to their banks, as it last said.
CREATE TABLE payout_sent_on (
    id       TEXT PRIMARY KEY,
    account  TEXT NOT NULL,
    currency TEXT NOT NULL,
    micros   INTEGER NOT NULL,
    status   TEXT NOT NULL,
    arrives  INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    error    TEXT
) STRICT;
CREATE INDEX payout_sent_on_account ON payout_sent_on (account, at);
