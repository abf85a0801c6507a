-- Which sealing key made a token. Only the token itself tells, so it is null until the token is used.
ALTER TABLE token ADD COLUMN key_id text;

-- What a key that is to go has sealed.
CREATE INDEX event_key ON event (key_id);

-- Which keys each process of a gateway has, newest first, and when it last said so.
CREATE TABLE key_holder (
    holder text   NOT NULL,
    kind   text   NOT NULL,
    ids    text   NOT NULL,
    seen   bigint NOT NULL,
    PRIMARY KEY (holder, kind)
);

-- Every key that any process ever had, and until when one of them is known to have sealed with it.
CREATE TABLE key_use (
    kind   text   NOT NULL,
    id     text   NOT NULL,
    sealed bigint NOT NULL,
    PRIMARY KEY (kind, id)
);

-- Accounts that were frozen and unfrozen, in order; the last row of an account counts. Never changed, never dropped.
CREATE TABLE freezing (
    number  bigint  PRIMARY KEY,
    account text    NOT NULL,
    frozen  boolean NOT NULL,
    reason  text    NOT NULL,
    at      bigint  NOT NULL,
    cause   text    UNIQUE
);
CREATE INDEX freezing_account ON freezing (account, number);
