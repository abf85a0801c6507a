-- What leaves owners. `key` names it at the provider; `fold` and `before` are what it was due by; `transfer` is the
-- provider's; of it `back` is to come back in the books, and `came_back` is there. `due`: when something is to be done.
CREATE TABLE payouts (
    owner     TEXT NOT NULL,
    unit      TEXT NOT NULL,
    number    INTEGER NOT NULL CHECK (number > 0),
    micros    INTEGER NOT NULL CHECK (micros > 0),
    account   TEXT NOT NULL,
    key       TEXT NOT NULL UNIQUE,
    fold      INTEGER NOT NULL,
    before    INTEGER NOT NULL,
    created   INTEGER NOT NULL,
    state     TEXT NOT NULL CHECK (
        state IN ('planned', 'written', 'sending', 'created', 'paid', 'failed', 'returned', 'reversed')
    ),
    changed   INTEGER NOT NULL,
    due       INTEGER NOT NULL,
    tries     INTEGER NOT NULL,
    transfer  TEXT,
    back      INTEGER NOT NULL CHECK (back BETWEEN 0 AND micros),
    came_back INTEGER NOT NULL CHECK (came_back BETWEEN 0 AND back),
    error     TEXT,
    PRIMARY KEY (owner, unit, number)
) STRICT;
CREATE UNIQUE INDEX payouts_under_way ON payouts (owner, unit) WHERE state IN ('planned', 'written', 'sending', 'failed');
CREATE INDEX payouts_created ON payouts (created);

-- Owners who are not paid until somebody says otherwise.
CREATE TABLE payout_hold (
    owner  TEXT PRIMARY KEY,
    reason TEXT NOT NULL,
    since  INTEGER NOT NULL
) STRICT;

-- The newest run of each owner's schedule: whose it is, until when, and whether it is done.
CREATE TABLE payout_run (
    owner TEXT PRIMARY KEY,
    slot  INTEGER NOT NULL,
    until INTEGER NOT NULL,
    done  INTEGER NOT NULL
) STRICT;
