-- What is known besides the money. Times are milliseconds since 1970.

-- Tokens are kept as HMAC-SHA256(pepper, token) and never in clear. A row is made when money arrives.
CREATE TABLE token (
    access_token_hash bytea  PRIMARY KEY CHECK (length(access_token_hash) = 32),
    account           text   NOT NULL,
    pepper_id         text   NOT NULL,
    created           bigint NOT NULL,
    expires           bigint,
    revoked           bigint
);
CREATE INDEX token_account ON token (account);

-- Every webhook event, once. `object` is sealed: it may hold an e-mail address.
CREATE TABLE event (
    id       text    PRIMARY KEY,
    type     text    NOT NULL,
    live     boolean NOT NULL,
    created  bigint  NOT NULL,
    received bigint  NOT NULL,
    object   bytea   NOT NULL,
    key_id   text    NOT NULL,
    status   text    NOT NULL CHECK (status IN ('waiting', 'done', 'ignored', 'parked')),
    error    text
);
CREATE INDEX event_status ON event (status, received);

-- Payment links that were made at the provider, by what they sell.
CREATE TABLE payment_link (
    key text PRIMARY KEY,
    url text NOT NULL
);

-- Which sealing keys these hosts have: one that shares none of them would take no token of the others.
CREATE TABLE sealing_key (
    id text PRIMARY KEY
);
