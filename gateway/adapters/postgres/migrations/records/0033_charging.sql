-- Whose saved method may be charged by agreement: the provider's ids alone. `key` names the customer there for ever.
CREATE TABLE stripe_customers (
    user_id  text    NOT NULL,
    live     bigint NOT NULL,
    key      text    NOT NULL,
    customer text,
    method   text,
    setup    text,
    setups   bigint NOT NULL,
    created  bigint NOT NULL,
    changed  bigint NOT NULL,
    PRIMARY KEY (user_id, live)
);
CREATE UNIQUE INDEX stripe_customers_customer ON stripe_customers (customer);

-- What was charged so, or is to be: one row for each refund, for ever. `turn` rises with each change; `due`: when
-- something is to be done about it.
CREATE TABLE stripe_transactions (
    id       text    PRIMARY KEY,
    live     bigint NOT NULL,
    refund   text    NOT NULL,
    user_id  text    NOT NULL,
    owner    text    NOT NULL,
    currency text    NOT NULL,
    amount   bigint NOT NULL CHECK (amount > 0),
    fee      bigint NOT NULL CHECK (fee > 0 AND fee <= amount),
    points   bigint NOT NULL,
    customer text    NOT NULL,
    created  bigint NOT NULL,
    state    text    NOT NULL CHECK (state IN ('planned', 'sending', 'retrying', 'pending', 'succeeded', 'failed')),
    turn     bigint NOT NULL,
    tries    bigint NOT NULL,
    due      bigint NOT NULL,
    changed  bigint NOT NULL,
    method   text    NOT NULL,
    intent   text    UNIQUE,
    reason   text,
    seller   text    NOT NULL CHECK (seller IN ('none', 'held', 'sending', 'paid')),
    transfer text,
    UNIQUE (live, refund)
);
CREATE INDEX stripe_transactions_user ON stripe_transactions (user_id, created);
CREATE INDEX stripe_transactions_due ON stripe_transactions (due);
