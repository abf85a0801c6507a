-- Who has a licence: a customer at the provider, their address by a keyed digest and sealed, and whose wallet it is of.
CREATE TABLE licensee (
    customer  text    PRIMARY KEY,
    account   text    NOT NULL,
    digest    bytea   NOT NULL,
    pepper_id text    NOT NULL,
    key_id    text    NOT NULL,
    sealed    bytea   NOT NULL,
    at        bigint  NOT NULL
);
CREATE INDEX licensee_digest ON licensee (digest);

-- Codes that bring a licence to a device, once.
CREATE TABLE licence_code (
    digest   bytea   PRIMARY KEY,
    customer text    NOT NULL,
    until    bigint  NOT NULL
);
CREATE INDEX licence_code_until ON licence_code (until);

-- Each time that a licence was restored.
CREATE TABLE licence_restore (
    customer text    NOT NULL,
    at       bigint  NOT NULL
);
CREATE INDEX licence_restore_customer ON licence_restore (customer, at);
