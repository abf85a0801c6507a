-- What was credited of which payment, by the provider's id of it. Written once, before the credit; kept for ever.
CREATE TABLE credited (
    payment  text    PRIMARY KEY,
    session  text    NOT NULL,
    account  text    NOT NULL,
    currency text    NOT NULL,
    paid     bigint  NOT NULL CHECK (paid > 0),
    credit   bigint  NOT NULL CHECK (credit BETWEEN 1 AND paid)
);

-- What each event said of a payment: refunds, disputes, warnings. Never changed, never dropped.
CREATE TABLE notice (
    event    text    PRIMARY KEY,
    payment  text    NOT NULL,
    kind     text    NOT NULL CHECK (kind IN ('refund', 'refunded', 'dispute', 'warning')),
    about    text    NOT NULL,
    micros   bigint  NOT NULL CHECK (micros >= 0),
    currency text    NOT NULL,
    stands   boolean NOT NULL,
    at       bigint  NOT NULL,
    live     boolean NOT NULL
);
CREATE INDEX notice_payment ON notice (payment);

-- What was taken back of a payment (or given back: less than nothing), step by step. The number makes the money key.
CREATE TABLE move (
    payment text    NOT NULL,
    number  bigint  NOT NULL CHECK (number > 0),
    micros  bigint  NOT NULL CHECK (micros <> 0),
    kind    text    NOT NULL,
    made    boolean NOT NULL DEFAULT false,
    PRIMARY KEY (payment, number)
);
CREATE INDEX move_unmade ON move (payment) WHERE NOT made;

-- How far something was read.
CREATE TABLE watermark (
    name  text    PRIMARY KEY,
    value bigint  NOT NULL
);
