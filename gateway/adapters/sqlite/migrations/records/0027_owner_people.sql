-- Who acts for which owner of the configuration. A person acts for one. Times are milliseconds since 1970.
CREATE TABLE owner_people (
    user_id TEXT    PRIMARY KEY,
    owner   TEXT    NOT NULL,
    how     TEXT    NOT NULL CHECK (how IN ('invited', 'linked')),
    since   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX owner_people_owner ON owner_people (owner);

-- What makes somebody one of them, once; by its keyed digest.
CREATE TABLE owner_invite (
    digest  BLOB    PRIMARY KEY,
    owner   TEXT    NOT NULL,
    until   INTEGER NOT NULL,
    used_by TEXT
) STRICT, WITHOUT ROWID;

-- Under which digests one person signs in.
CREATE INDEX user_login_user ON user_login (user_id);
