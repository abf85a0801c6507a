-- Who signed in through an outside provider, and what that provider gave us for them. Names, addresses and tokens are
-- sealed, each for its own row; who somebody is there is a keyed digest. Times are milliseconds since 1970.
CREATE TABLE users (
    id      TEXT    PRIMARY KEY,
    account TEXT    NOT NULL,
    created INTEGER NOT NULL,
    seen    INTEGER NOT NULL,
    key_id  TEXT    NOT NULL,
    profile BLOB    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX users_account ON users (account);
CREATE INDEX users_key ON users (key_id);

CREATE TABLE user_login (
    digest    BLOB    PRIMARY KEY,
    pepper_id TEXT    NOT NULL,
    user_id   TEXT    NOT NULL,
    provider  TEXT    NOT NULL,
    created   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Which token (`token_grant`) is whose session.
CREATE TABLE user_session (
    grant_id TEXT    PRIMARY KEY,
    user_id  TEXT    NOT NULL,
    provider TEXT    NOT NULL,
    created  INTEGER NOT NULL,
    expires  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX user_session_user ON user_session (user_id);

-- A sign-in comes back once.
CREATE TABLE sign_in_used (
    digest BLOB    PRIMARY KEY,
    until  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE oauth_tokens (
    user_id  TEXT    NOT NULL,
    provider TEXT    NOT NULL,
    key_id   TEXT    NOT NULL,
    sealed   BLOB    NOT NULL,
    expires  INTEGER,
    version  INTEGER NOT NULL,
    held     INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (user_id, provider)
) STRICT, WITHOUT ROWID;
CREATE INDEX oauth_tokens_key ON oauth_tokens (key_id);

CREATE TABLE integration_status (
    user_id  TEXT    NOT NULL,
    provider TEXT    NOT NULL,
    state    TEXT    NOT NULL CHECK (state IN ('connected', 'failing', 'consent_needed', 'disconnected')),
    checked  INTEGER NOT NULL,
    PRIMARY KEY (user_id, provider)
) STRICT, WITHOUT ROWID;

-- Work that outlives whoever began it. `turn` rises each time it is taken: who has an older one has lost the job.
CREATE TABLE sync_jobs (
    id       TEXT    PRIMARY KEY,
    kind     TEXT    NOT NULL,
    cause    TEXT    NOT NULL UNIQUE,
    user_id  TEXT    NOT NULL,
    provider TEXT    NOT NULL,
    state    TEXT    NOT NULL CHECK (state IN ('waiting', 'running', 'done', 'failed')),
    tries    INTEGER NOT NULL,
    turn     INTEGER NOT NULL,
    due      INTEGER NOT NULL,
    since    INTEGER NOT NULL,
    created  INTEGER NOT NULL,
    changed  INTEGER NOT NULL,
    progress TEXT    NOT NULL,
    error    TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX sync_jobs_due ON sync_jobs (due) WHERE state IN ('waiting', 'running');
CREATE INDEX sync_jobs_user ON sync_jobs (user_id);
