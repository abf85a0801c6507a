-- What an account may spend in a period. The last row of an account and period counts; without `micros` it has no cap.
-- `since` rises for an account: of two settings that are known somewhere, the later one holds.
CREATE TABLE account_cap (
    number  INTEGER PRIMARY KEY,
    account TEXT    NOT NULL,
    period  TEXT    NOT NULL CHECK (period IN ('day', 'month', 'total')),
    unit    TEXT    NOT NULL,
    micros  INTEGER CHECK (micros >= 0),
    since   INTEGER NOT NULL
) STRICT;
CREATE INDEX account_cap_account ON account_cap (account);
