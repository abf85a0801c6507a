-- Who signed in through an outside provider, and what that provider gave us for them. Names, addresses and tokens are
-- sealed, each for its own row; who somebody is there is a keyed digest. Times are milliseconds since 1970.
CREATE TABLE users (
    id      text    PRIMARY KEY,
    account text    NOT NULL,
    created bigint  NOT NULL,
    seen    bigint  NOT NULL,
    key_id  text    NOT NULL,
    profile bytea   NOT NULL
);
CREATE INDEX users_account ON users (account);
CREATE INDEX users_key ON users (key_id);

CREATE TABLE user_login (
    digest    bytea   PRIMARY KEY,
    pepper_id text    NOT NULL,
    user_id   text    NOT NULL,
    provider  text    NOT NULL,
    created   bigint  NOT NULL
);

-- Which token (`token_grant`) is whose session.
CREATE TABLE user_session (
    grant_id text    PRIMARY KEY,
    user_id  text    NOT NULL,
    provider text    NOT NULL,
    created  bigint  NOT NULL,
    expires  bigint  NOT NULL
);
CREATE INDEX user_session_user ON user_session (user_id);

-- A sign-in comes back once.
CREATE TABLE sign_in_used (
    digest bytea   PRIMARY KEY,
    until  bigint  NOT NULL
);

CREATE TABLE oauth_tokens (
    user_id  text    NOT NULL,
    provider text    NOT NULL,
    key_id   text    NOT NULL,
    sealed   bytea   NOT NULL,
    expires  bigint,
    version  bigint  NOT NULL,
    held     bigint  NOT NULL DEFAULT 0,
    PRIMARY KEY (user_id, provider)
);
CREATE INDEX oauth_tokens_key ON oauth_tokens (key_id);

CREATE TABLE integration_status (
    user_id  text    NOT NULL,
    provider text    NOT NULL,
    state    text    NOT NULL CHECK (state IN ('connected', 'failing', 'consent_needed', 'disconnected')),
    checked  bigint  NOT NULL,
    PRIMARY KEY (user_id, provider)
);

-- Work that outlives whoever began it. `turn` rises each time it is taken: who has an older one has lost the job.
CREATE TABLE sync_jobs (
    id       text    PRIMARY KEY,
    kind     text    NOT NULL,
    cause    text    NOT NULL UNIQUE,
    user_id  text    NOT NULL,
    provider text    NOT NULL,
    state    text    NOT NULL CHECK (state IN ('waiting', 'running', 'done', 'failed')),
    tries    bigint  NOT NULL,
    turn     bigint  NOT NULL,
    due      bigint  NOT NULL,
    since    bigint  NOT NULL,
    created  bigint  NOT NULL,
    changed  bigint  NOT NULL,
    progress text    NOT NULL,
    error    text
);
CREATE INDEX sync_jobs_due ON sync_jobs (due) WHERE state IN ('waiting', 'running');
CREATE INDEX sync_jobs_user ON sync_jobs (user_id);
