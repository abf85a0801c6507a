-- What was credited of which payment, by the provider's id of it. Written once, before the credit; kept for ever.
CREATE TABLE credited (
    payment  TEXT    PRIMARY KEY,
    session  TEXT    NOT NULL,
    account  TEXT    NOT NULL,
    currency TEXT    NOT NULL,
    paid     INTEGER NOT NULL CHECK (paid > 0),
    credit   INTEGER NOT NULL CHECK (credit BETWEEN 1 AND paid)
) STRICT, WITHOUT ROWID;

-- What each event said of a payment: refunds, disputes, warnings. Never changed, never dropped.
CREATE TABLE notice (
    event    TEXT    PRIMARY KEY,
    payment  TEXT    NOT NULL,
    kind     TEXT    NOT NULL CHECK (kind IN ('refund', 'refunded', 'dispute', 'warning')),
    about    TEXT    NOT NULL,
    micros   INTEGER NOT NULL CHECK (micros >= 0),
    currency TEXT    NOT NULL,
    stands   INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    live     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX notice_payment ON notice (payment);

-- What was taken back of a payment (or given back: less than nothing), step by step. The number makes the money key.
CREATE TABLE move (
    payment TEXT    NOT NULL,
    number  INTEGER NOT NULL CHECK (number > 0),
    micros  INTEGER NOT NULL CHECK (micros <> 0),
    kind    TEXT    NOT NULL,
    made    INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (payment, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX move_unmade ON move (payment) WHERE made = 0;

-- How far something was read.
CREATE TABLE watermark (
    name  TEXT    PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
