-- Idempotency keys by account, as digests; `answer` is sealed by the key named beside it.
CREATE TABLE idempotency_key (
    account     text    NOT NULL,
    key         bytea   NOT NULL,
    fingerprint bytea   NOT NULL,
    request     text    NOT NULL,
    holder      text    NOT NULL,
    lease       bigint  NOT NULL,
    expires     bigint  NOT NULL,
    state       text    NOT NULL CHECK (state IN ('open', 'kept', 'not_kept', 'unknown')),
    sealed_by   text    NOT NULL,
    answer      bytea   NOT NULL,
    PRIMARY KEY (account, key)
);
CREATE INDEX idempotency_key_holder ON idempotency_key (holder) WHERE state = 'open';
CREATE INDEX idempotency_key_expires ON idempotency_key (expires);
