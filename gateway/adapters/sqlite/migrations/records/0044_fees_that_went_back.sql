-- What went back of a fee: `back` of it, by refunds and disputes; `dispute_fee` is what the provider keeps for those.
-- Of what is held for a seller, that it is due to them.
CREATE TABLE stripe_transactions_next (
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
    state    TEXT    NOT NULL CHECK (state IN (
        'planned', 'sending', 'retrying', 'pending', 'succeeded', 'failed', 'refunded', 'disputed'
    )),
    turn     INTEGER NOT NULL,
    tries    INTEGER NOT NULL,
    due      INTEGER NOT NULL,
    changed  INTEGER NOT NULL,
    method   TEXT    NOT NULL,
    intent   TEXT    UNIQUE,
    reason   TEXT,
    seller   TEXT    NOT NULL CHECK (seller IN ('none', 'held', 'due', 'sending', 'paid')),
    transfer TEXT,
    back     INTEGER NOT NULL CHECK (back BETWEEN 0 AND fee),
    dispute_fee INTEGER NOT NULL,
    UNIQUE (live, refund)
) STRICT;
INSERT INTO stripe_transactions_next SELECT id, live, refund, user_id, owner, currency, amount, fee, points, customer, created,
    state, turn, tries, due, changed, method, intent, reason, seller, transfer, 0, 0 FROM stripe_transactions;
DROP TABLE stripe_transactions;
ALTER TABLE stripe_transactions_next RENAME TO stripe_transactions;
CREATE INDEX stripe_transactions_user ON stripe_transactions (user_id, created);
CREATE INDEX stripe_transactions_due ON stripe_transactions (due);
