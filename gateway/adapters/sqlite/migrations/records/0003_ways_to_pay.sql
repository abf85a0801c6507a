-- Exact amounts that somebody wants to pay, and cards to save: written down before the provider is asked. Dropped after
-- two days. `id` is the idempotency key.
CREATE TABLE pay_order (
    id        TEXT    PRIMARY KEY,
    account   TEXT    NOT NULL,
    currency  TEXT    NOT NULL,
    amount    INTEGER CHECK (amount > 0),
    reference TEXT    NOT NULL,
    created   INTEGER NOT NULL,
    threshold INTEGER CHECK (threshold >= 0),
    adds    INTEGER CHECK (adds > 0),
    customer  TEXT,
    url       TEXT
) STRICT;
CREATE INDEX pay_order_created ON pay_order (created);

-- Who wants to be topped up with a saved card, and how that stands. One row for each account; it stays when it is
-- switched off, so that others hear of it.
CREATE TABLE auto_top_up (
    account   TEXT    PRIMARY KEY,
    currency  TEXT    NOT NULL,
    threshold INTEGER NOT NULL CHECK (threshold >= 0),
    adds    INTEGER NOT NULL CHECK (adds > 0),
    day       INTEGER NOT NULL,
    month     INTEGER NOT NULL,
    customer  TEXT,
    method    TEXT,
    label     TEXT,
    paused    TEXT    CHECK (paused IN (
        'declined', 'authentication_required', 'card_removed', 'refused', 'taken_back'
    )),
    wanted    INTEGER NOT NULL,
    changed   INTEGER NOT NULL
) STRICT;
CREATE INDEX auto_top_up_changed ON auto_top_up (changed);
CREATE INDEX auto_top_up_method ON auto_top_up (method);

-- Payments without their owner: written down before the provider is asked, numbered by account. Kept for ever.
CREATE TABLE refill (
    account   TEXT    NOT NULL,
    number    INTEGER NOT NULL CHECK (number > 0),
    key       TEXT    NOT NULL UNIQUE,
    currency  TEXT    NOT NULL,
    amount    INTEGER NOT NULL CHECK (amount > 0),
    customer  TEXT    NOT NULL,
    method    TEXT    NOT NULL,
    reference TEXT    NOT NULL,
    created   INTEGER NOT NULL,
    state     TEXT    NOT NULL CHECK (state IN ('asked', 'succeeded', 'failed')),
    PRIMARY KEY (account, number)
) STRICT;
-- One under way for each account.
CREATE UNIQUE INDEX refill_under_way ON refill (account) WHERE state = 'asked';
