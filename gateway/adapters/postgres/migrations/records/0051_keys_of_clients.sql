-- Of which sealing key a client's secret was made, so that the key stays while the client is allowed anything. Of earlier
-- ones it is noted when they next prove themselves.
ALTER TABLE oauth_client ADD COLUMN key_id text;
