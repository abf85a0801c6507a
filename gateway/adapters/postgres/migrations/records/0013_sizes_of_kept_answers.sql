-- How much is kept altogether is added up without a look at the answers.
ALTER TABLE idempotency_key ADD COLUMN size bigint GENERATED ALWAYS AS (octet_length(answer)) STORED;
CREATE INDEX idempotency_key_kept ON idempotency_key (expires, size) WHERE state = 'kept';
