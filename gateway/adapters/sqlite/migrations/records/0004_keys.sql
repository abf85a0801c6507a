-- Which sealing key made a token. Only the token itself tells, so it is null until the token is used.
ALTER TABLE token ADD COLUMN key_id TEXT;

-- What a key that is to go has sealed.
CREATE INDEX event_key ON event (key_id);

-- Which keys each process of a gateway has, newest first, and when it last said so.
CREATE TABLE key_holder (
    holder TEXT    NOT NULL,
    kind   TEXT    NOT NULL,
    ids    TEXT    NOT NULL,
    seen   INTEGER NOT NULL,
    PRIMARY KEY (holder, kind)
) STRICT, WITHOUT ROWID;

-- Every key that any process ever had, and until when one of them is known to have sealed with it.
CREATE TABLE key_use (
    kind   TEXT    NOT NULL,
    id     TEXT    NOT NULL,
    sealed INTEGER NOT NULL,
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;

-- Accounts that were frozen and unfrozen, in order; the last row of an account counts. Never changed, never dropped.
CREATE TABLE freezing (
    number  INTEGER PRIMARY KEY,
    account TEXT    NOT NULL,
    frozen  INTEGER NOT NULL,
    reason  TEXT    NOT NULL,
    at      INTEGER NOT NULL,
    cause   TEXT    UNIQUE
) STRICT;
CREATE INDEX freezing_account ON freezing (account, number);
