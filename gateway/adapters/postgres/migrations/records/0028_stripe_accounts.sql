-- The accounts at Stripe that owners are paid into, one of each mode. Written down before Stripe is asked for one:
-- `name` and `attempt` make the idempotency key, `wish` is what is asked for, sealed, until the account is there.
CREATE TABLE stripe_accounts (
    owner     text     NOT NULL,
    live      smallint NOT NULL CHECK (live IN (0, 1)),
    api       text     NOT NULL CHECK (api IN ('v1', 'v2')),
    name      text     NOT NULL,
    attempt   integer  NOT NULL,
    account   text,
    status    text     NOT NULL CHECK (status IN ('pending', 'restricted', 'enabled', 'rejected', 'deauthorised')),
    due       text     NOT NULL,
    transfers smallint NOT NULL,
    payouts   smallint NOT NULL,
    country   text     NOT NULL,
    created   bigint   NOT NULL,
    changed   bigint   NOT NULL,
    checked   bigint   NOT NULL,
    key_id    text,
    wish      bytea,
    PRIMARY KEY (owner, live)
);
CREATE UNIQUE INDEX stripe_accounts_account ON stripe_accounts (account);
CREATE INDEX stripe_accounts_key ON stripe_accounts (key_id);
