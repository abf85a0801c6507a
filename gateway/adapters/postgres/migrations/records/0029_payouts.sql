-- What leaves owners. `key` names it at the provider; `fold` and `before` are what it was due by; `transfer` is the
-- provider's; of it `back` is to come back in the books, and `came_back` is there. `due`: when something is to be done.
CREATE TABLE payouts (
    owner     text NOT NULL,
    unit      text NOT NULL,
    number    bigint NOT NULL CHECK (number > 0),
    micros    bigint NOT NULL CHECK (micros > 0),
    account   text NOT NULL,
    key       text NOT NULL UNIQUE,
    fold      bigint NOT NULL,
    before    bigint NOT NULL,
    created   bigint NOT NULL,
    state     text NOT NULL CHECK (
        state IN ('planned', 'written', 'sending', 'created', 'paid', 'failed', 'returned', 'reversed')
    ),
    changed   bigint NOT NULL,
    due       bigint NOT NULL,
    tries     bigint NOT NULL,
    transfer  text,
    back      bigint NOT NULL CHECK (back BETWEEN 0 AND micros),
    came_back bigint NOT NULL CHECK (came_back BETWEEN 0 AND back),
    error     text,
    PRIMARY KEY (owner, unit, number)
);
CREATE UNIQUE INDEX payouts_under_way ON payouts (owner, unit) WHERE state IN ('planned', 'written', 'sending', 'failed');
CREATE INDEX payouts_created ON payouts (created);

-- Owners who are not paid until somebody says otherwise.
CREATE TABLE payout_hold (
    owner  text PRIMARY KEY,
    reason text NOT NULL,
    since  bigint NOT NULL
);

-- The newest run of each owner's schedule: whose it is, until when, and whether it is done.
CREATE TABLE payout_run (
    owner text PRIMARY KEY,
    slot  bigint NOT NULL,
    until bigint NOT NULL,
    done  boolean NOT NULL
);
