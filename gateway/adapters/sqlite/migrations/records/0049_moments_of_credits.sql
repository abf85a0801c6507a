-- When a payment was first credited, so that it can be told how many an account makes in an hour; 0 of earlier ones.
ALTER TABLE credited ADD COLUMN at INTEGER NOT NULL DEFAULT 0;
CREATE INDEX credited_at ON credited (at);
