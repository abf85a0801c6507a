-- Idempotency keys by account, as digests; `answer` is sealed by the key named beside it.
CREATE TABLE idempotency_key (
    account     TEXT    NOT NULL,
    key         BLOB    NOT NULL,
    fingerprint BLOB    NOT NULL,
    request     TEXT    NOT NULL,
    holder      TEXT    NOT NULL,
    lease       INTEGER NOT NULL,
    expires     INTEGER NOT NULL,
    state       TEXT    NOT NULL CHECK (state IN ('open', 'kept', 'not_kept', 'unknown')),
    sealed_by   TEXT    NOT NULL,
    answer      BLOB    NOT NULL,
    PRIMARY KEY (account, key)
) STRICT;
CREATE INDEX idempotency_key_holder ON idempotency_key (holder) WHERE state = 'open';
CREATE INDEX idempotency_key_expires ON idempotency_key (expires);
