-- Who acts for which owner of the configuration. A person acts for one. Times are milliseconds since 1970.
CREATE TABLE owner_people (
    user_id text   PRIMARY KEY,
    owner   text   NOT NULL,
    how     text   NOT NULL CHECK (how IN ('invited', 'linked')),
    since   bigint NOT NULL
);
CREATE INDEX owner_people_owner ON owner_people (owner);

-- What makes somebody one of them, once; by its keyed digest.
CREATE TABLE owner_invite (
    digest  bytea  PRIMARY KEY,
    owner   text   NOT NULL,
    until   bigint NOT NULL,
    used_by text
);

-- Under which digests one person signs in.
CREATE INDEX user_login_user ON user_login (user_id);
