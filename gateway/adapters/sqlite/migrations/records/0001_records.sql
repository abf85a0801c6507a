-- What is known besides the money. Times are milliseconds since 1970.

-- Tokens are kept as HMAC-SHA256(pepper, token) and never in clear. A row is made when money arrives.
CREATE TABLE token (
    access_token_hash BLOB    PRIMARY KEY CHECK (length(access_token_hash) = 32),
    account           TEXT    NOT NULL,
    pepper_id         TEXT    NOT NULL,
    created           INTEGER NOT NULL,
    expires           INTEGER,
    revoked           INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX token_account ON token (account);

-- Every webhook event, once. `object` is sealed: it may hold an e-mail address.
CREATE TABLE event (
    id       TEXT    PRIMARY KEY,
    type     TEXT    NOT NULL,
    live     INTEGER NOT NULL,
    created  INTEGER NOT NULL,
    received INTEGER NOT NULL,
    object   BLOB    NOT NULL,
    key_id   TEXT    NOT NULL,
    status   TEXT    NOT NULL CHECK (status IN ('waiting', 'done', 'ignored', 'parked')),
    error    TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX event_status ON event (status, received);

-- Payment links that were made at the provider, by what they sell.
CREATE TABLE payment_link (
    key TEXT PRIMARY KEY,
    url TEXT NOT NULL
) STRICT, WITHOUT ROWID;
