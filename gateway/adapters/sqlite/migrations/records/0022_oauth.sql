-- Programs that may ask people for leave, as they have described themselves.
CREATE TABLE oauth_client (
    id        TEXT PRIMARY KEY,
    name      TEXT NOT NULL,
    redirects TEXT NOT NULL,
    auth      TEXT NOT NULL,
    made      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX oauth_client_made ON oauth_client (made);

-- What a person has allowed one: the token that stands for it, and for which resource.
CREATE TABLE oauth_consent (
    token_grant TEXT PRIMARY KEY,
    account     TEXT NOT NULL,
    client      TEXT NOT NULL,
    resource    TEXT NOT NULL,
    scopes      TEXT NOT NULL,
    at          INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX oauth_consent_client ON oauth_consent (client);

-- What buys tokens once: codes and refresh tokens, by their keyed digest.
CREATE TABLE oauth_ticket (
    digest      BLOB PRIMARY KEY,
    kind        TEXT NOT NULL CHECK (kind IN ('code', 'refresh')),
    token_grant TEXT NOT NULL,
    expires     INTEGER NOT NULL,
    redirect    TEXT NOT NULL,
    challenge   TEXT NOT NULL,
    used        INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX oauth_ticket_expires ON oauth_ticket (expires);
