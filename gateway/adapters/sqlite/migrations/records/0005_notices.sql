-- What an owner or operator is to be told, each once (`cause`). Dropped when it is over and old.
CREATE TABLE outgoing (
    number  INTEGER PRIMARY KEY,
    id      TEXT    NOT NULL UNIQUE DEFAULT ('ntc_' || lower(hex(randomblob(16)))),
    type    TEXT    NOT NULL,
    account TEXT    NOT NULL,
    content TEXT    NOT NULL,
    cause   TEXT    NOT NULL UNIQUE,
    created INTEGER NOT NULL,
    due     INTEGER NOT NULL,
    tries   INTEGER NOT NULL DEFAULT 0,
    state   TEXT    NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'delivered', 'failed')),
    since   INTEGER,
    error   TEXT
) STRICT;
CREATE INDEX outgoing_due ON outgoing (due) WHERE state = 'waiting';
CREATE INDEX outgoing_created ON outgoing (created);

-- Who was below the line when last looked at: what was left, and what had been paid in altogether.
CREATE TABLE low_balance (
    account  TEXT    PRIMARY KEY,
    remains  INTEGER NOT NULL,
    credited INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Until when a saved card is good: a year and a month, 2034-12.
ALTER TABLE auto_top_up ADD COLUMN expires TEXT;

-- Written down in the transaction that makes it true, whoever makes it.
CREATE TRIGGER tell_of_freezes AFTER INSERT ON freezing WHEN NEW.frozen
BEGIN
    INSERT INTO outgoing (type, account, content, cause, created, due)
    VALUES ('account.frozen', NEW.account, json_object('reason', NEW.reason), 'frozen ' || NEW.number, NEW.at, NEW.at);
END;

CREATE TRIGGER tell_of_pauses AFTER UPDATE OF paused ON auto_top_up
WHEN NEW.wanted AND NEW.paused IS NOT NULL AND NEW.paused IS NOT OLD.paused
BEGIN
    INSERT INTO outgoing (type, account, content, cause, created, due)
    VALUES ('auto_top_up.paused', NEW.account, json_object('reason', NEW.paused),
        'paused ' || NEW.account || ' ' || NEW.changed || ' ' || NEW.paused, NEW.changed, NEW.changed)
    ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER tell_of_failures AFTER UPDATE OF state ON refill
WHEN NEW.state = 'failed' AND OLD.state = 'asked'
BEGIN
    INSERT INTO outgoing (type, account, content, cause, created, due)
    SELECT 'payment.failed', NEW.account,
        json_object('currency', NEW.currency, 'micros', NEW.amount, 'reason', paused), 'failed ' || NEW.key,
        max(changed, NEW.created), max(changed, NEW.created)
    FROM auto_top_up WHERE account = NEW.account
    ON CONFLICT DO NOTHING;
END;
