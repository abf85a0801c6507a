-- From how much on somebody is told, and whose calendar a cap goes by; as usual where nothing is said.
ALTER TABLE account_cap ADD COLUMN tell_at INTEGER CHECK (tell_at > 0);
ALTER TABLE account_cap ADD COLUMN zone TEXT;
