-- Exact amounts that somebody wants to pay, and cards to save: written down before the provider is asked. Dropped after
-- two days. `id` is the idempotency key.
CREATE TABLE pay_order (
    id        text    PRIMARY KEY,
    account   text    NOT NULL,
    currency  text    NOT NULL,
    amount    bigint  CHECK (amount > 0),
    reference text    NOT NULL,
    created   bigint  NOT NULL,
    threshold bigint  CHECK (threshold >= 0),
    adds    bigint  CHECK (adds > 0),
    customer  text,
    url       text
);
CREATE INDEX pay_order_created ON pay_order (created);

-- Who wants to be topped up with a saved card, and how that stands. One row for each account; it stays when it is
-- switched off, so that others hear of it.
CREATE TABLE auto_top_up (
    account   text    PRIMARY KEY,
    currency  text    NOT NULL,
    threshold bigint  NOT NULL CHECK (threshold >= 0),
    adds    bigint  NOT NULL CHECK (adds > 0),
    day       bigint  NOT NULL,
    month     bigint  NOT NULL,
    customer  text,
    method    text,
    label     text,
    paused    text    CHECK (paused IN (
        'declined', 'authentication_required', 'card_removed', 'refused', 'taken_back'
    )),
    wanted    boolean NOT NULL,
    changed   bigint  NOT NULL
);
CREATE INDEX auto_top_up_changed ON auto_top_up (changed);
CREATE INDEX auto_top_up_method ON auto_top_up (method);

-- Payments without their owner: written down before the provider is asked, numbered by account. Kept for ever.
CREATE TABLE refill (
    account   text    NOT NULL,
    number    bigint  NOT NULL CHECK (number > 0),
    key       text    NOT NULL UNIQUE,
    currency  text    NOT NULL,
    amount    bigint  NOT NULL CHECK (amount > 0),
    customer  text    NOT NULL,
    method    text    NOT NULL,
    reference text    NOT NULL,
    created   bigint  NOT NULL,
    state     text    NOT NULL CHECK (state IN ('asked', 'succeeded', 'failed')),
    PRIMARY KEY (account, number)
);
-- One under way for each account.
CREATE UNIQUE INDEX refill_under_way ON refill (account) WHERE state = 'asked';
