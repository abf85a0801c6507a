-- How much is kept altogether is added up without a look at the answers.
ALTER TABLE idempotency_key ADD COLUMN size INTEGER GENERATED ALWAYS AS (length(answer)) VIRTUAL;
CREATE INDEX idempotency_key_kept ON idempotency_key (expires, size) WHERE state = 'kept';
