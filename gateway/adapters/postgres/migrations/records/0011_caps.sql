-- What an account may spend in a period. The last row of an account and period counts; without `micros` it has no cap.
-- `since` rises for an account: of two settings that are known somewhere, the later one holds.
CREATE TABLE account_cap (
    number  bigint PRIMARY KEY,
    account text    NOT NULL,
    period  text    NOT NULL CHECK (period IN ('day', 'month', 'total')),
    unit    text    NOT NULL,
    micros  bigint CHECK (micros >= 0),
    since   bigint NOT NULL
);
CREATE INDEX account_cap_account ON account_cap (account);
