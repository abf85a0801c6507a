-- The accounts at Stripe that owners are paid into, one of each mode. Written down before Stripe is asked for one:
-- `name` and `attempt` make the idempotency key, `wish` is what is asked for, sealed, until the account is there.
CREATE TABLE stripe_accounts (
    owner     TEXT    NOT NULL,
    live      INTEGER NOT NULL CHECK (live IN (0, 1)),
    api       TEXT    NOT NULL CHECK (api IN ('v1', 'v2')),
    name      TEXT    NOT NULL,
    attempt   INTEGER NOT NULL,
    account   TEXT,
    status    TEXT    NOT NULL CHECK (status IN ('pending', 'restricted', 'enabled', 'rejected', 'deauthorised')),
    due       TEXT    NOT NULL,
    transfers INTEGER NOT NULL,
    payouts   INTEGER NOT NULL,
    country   TEXT    NOT NULL,
    created   INTEGER NOT NULL,
    changed   INTEGER NOT NULL,
    checked   INTEGER NOT NULL,
    key_id    TEXT,
    wish      BLOB,
    PRIMARY KEY (owner, live)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX stripe_accounts_account ON stripe_accounts (account);
CREATE INDEX stripe_accounts_key ON stripe_accounts (key_id);
