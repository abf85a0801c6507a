-- Whose saved method may be charged by agreement: the provider's ids alone. `key` names the customer there for ever.
CREATE TABLE stripe_customers (
    user_id  TEXT    NOT NULL,
    live     INTEGER NOT NULL,
    key      TEXT    NOT NULL,
    customer TEXT,
    method   TEXT,
    setup    TEXT,
    setups   INTEGER NOT NULL,
    created  INTEGER NOT NULL,
    changed  INTEGER NOT NULL,
    PRIMARY KEY (user_id, live)
) STRICT;
CREATE UNIQUE INDEX stripe_customers_customer ON stripe_customers (customer);

-- What was charged so, or is to be: one row for each refund, for ever. `turn` rises with each change; `due`: when
-- something is to be done about it.
CREATE TABLE stripe_transactions (
    id       TEXT    PRIMARY KEY,
    live     INTEGER NOT NULL,
    refund   TEXT    NOT NULL,
    user_id  TEXT    NOT NULL,
    owner    TEXT    NOT NULL,
    currency TEXT    NOT NULL,
    amount   INTEGER NOT NULL CHECK (amount > 0),
    fee      INTEGER NOT NULL CHECK (fee > 0 AND fee <= amount),
    points   INTEGER NOT NULL,
    customer TEXT    NOT NULL,
    created  INTEGER NOT NULL,
    state    TEXT    NOT NULL CHECK (state IN ('planned', 'sending', 'retrying', 'pending', 'succeeded', 'failed')),
    turn     INTEGER NOT NULL,
    tries    INTEGER NOT NULL,
    due      INTEGER NOT NULL,
    changed  INTEGER NOT NULL,
    method   TEXT    NOT NULL,
    intent   TEXT    UNIQUE,
    reason   TEXT,
    seller   TEXT    NOT NULL CHECK (seller IN ('none', 'held', 'sending', 'paid')),
    transfer TEXT,
    UNIQUE (live, refund)
) STRICT;
CREATE INDEX stripe_transactions_user ON stripe_transactions (user_id, created);
CREATE INDEX stripe_transactions_due ON stripe_transactions (due);
