-- A token as its holder knows it: one or, for a while after a rotation, several secrets (rows of `token`) stand for it.
-- `change` numbers what others have to hear of; null until something of it was changed.
CREATE TABLE token_grant (
    id      TEXT    PRIMARY KEY,
    account TEXT    NOT NULL,
    parent  TEXT,
    name    TEXT    NOT NULL,
    last    TEXT    NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER,
    revoked INTEGER,
    used    INTEGER,
    terms   TEXT,
    change  INTEGER UNIQUE
) STRICT, WITHOUT ROWID;
CREATE INDEX token_grant_account ON token_grant (account);

ALTER TABLE token ADD COLUMN grant_id TEXT;
INSERT INTO token_grant (id, account, name, last, created, expires, revoked)
SELECT 'tok_' || lower(hex(substr(access_token_hash, 1, 10))), account, '', '', created, expires, revoked FROM token;
UPDATE token SET grant_id = 'tok_' || lower(hex(substr(access_token_hash, 1, 10)));
CREATE INDEX token_of_grant ON token (grant_id);

-- Which secret took the place of which; the newer one is sealed, for whoever asked and did not hear the answer.
CREATE TABLE token_rotation (
    older      BLOB    PRIMARY KEY,
    newer      BLOB    NOT NULL,
    pepper_id  TEXT    NOT NULL,
    last       TEXT    NOT NULL,
    sealed_by  TEXT    NOT NULL,
    sealed     BLOB    NOT NULL,
    at         INTEGER NOT NULL,
    good_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
