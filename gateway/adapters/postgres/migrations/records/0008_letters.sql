-- What is told goes to the owner's address, and as a letter to the holder where theirs is known: a message of its own
-- for each address (`receiver`, by its digest).
ALTER TABLE outgoing ADD COLUMN channel text NOT NULL DEFAULT 'webhook' CHECK (channel IN ('webhook', 'mail'));
ALTER TABLE outgoing ADD COLUMN receiver text;
