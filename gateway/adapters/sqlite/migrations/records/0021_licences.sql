-- Who has a licence: a customer at the provider, their address by a keyed digest and sealed, and whose wallet it is of.
CREATE TABLE licensee (
    customer  TEXT    PRIMARY KEY,
    account   TEXT    NOT NULL,
    digest    BLOB    NOT NULL,
    pepper_id TEXT    NOT NULL,
    key_id    TEXT    NOT NULL,
    sealed    BLOB    NOT NULL,
    at        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX licensee_digest ON licensee (digest);

-- Codes that bring a licence to a device, once.
CREATE TABLE licence_code (
    digest   BLOB    PRIMARY KEY,
    customer TEXT    NOT NULL,
    until    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX licence_code_until ON licence_code (until);

-- Each time that a licence was restored.
CREATE TABLE licence_restore (
    customer TEXT    NOT NULL,
    at       INTEGER NOT NULL
) STRICT;
CREATE INDEX licence_restore_customer ON licence_restore (customer, at);
