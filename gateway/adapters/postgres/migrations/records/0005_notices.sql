-- What an owner or operator is to be told, each once (`cause`). Dropped when it is over and old.
CREATE TABLE outgoing (
    number  bigint  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id      text    NOT NULL UNIQUE DEFAULT ('ntc_' || replace(gen_random_uuid()::text, '-', '')),
    type    text    NOT NULL,
    account text    NOT NULL,
    content text    NOT NULL,
    cause   text    NOT NULL UNIQUE,
    created bigint  NOT NULL,
    due     bigint  NOT NULL,
    tries   integer NOT NULL DEFAULT 0,
    state   text    NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'delivered', 'failed')),
    since   bigint,
    error   text
);
CREATE INDEX outgoing_due ON outgoing (due) WHERE state = 'waiting';
CREATE INDEX outgoing_created ON outgoing (created);

-- Who was below the line when last looked at: what was left, and what had been paid in altogether.
CREATE TABLE low_balance (
    account  text    PRIMARY KEY,
    remains  bigint  NOT NULL,
    credited bigint  NOT NULL
);

-- Until when a saved card is good: a year and a month, 2034-12.
ALTER TABLE auto_top_up ADD COLUMN expires text;

-- Written down in the transaction that makes it true, whoever makes it.
CREATE FUNCTION tell_of_freeze() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO outgoing (type, account, content, cause, created, due)
    VALUES ('account.frozen', NEW.account, json_build_object('reason', NEW.reason)::text, 'frozen ' || NEW.number,
        NEW.at, NEW.at);
    RETURN NULL;
END $$;
CREATE TRIGGER tell_of_freezes AFTER INSERT ON freezing FOR EACH ROW WHEN (NEW.frozen)
EXECUTE FUNCTION tell_of_freeze();

CREATE FUNCTION tell_of_pause() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO outgoing (type, account, content, cause, created, due)
    VALUES ('auto_top_up.paused', NEW.account, json_build_object('reason', NEW.paused)::text,
        'paused ' || NEW.account || ' ' || NEW.changed || ' ' || NEW.paused, NEW.changed, NEW.changed)
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER tell_of_pauses AFTER UPDATE OF paused ON auto_top_up FOR EACH ROW
WHEN (NEW.wanted AND NEW.paused IS NOT NULL AND NEW.paused IS DISTINCT FROM OLD.paused)
EXECUTE FUNCTION tell_of_pause();

CREATE FUNCTION tell_of_failure() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO outgoing (type, account, content, cause, created, due)
    SELECT 'payment.failed', NEW.account,
        json_build_object('currency', NEW.currency, 'micros', NEW.amount, 'reason', paused)::text,
        'failed ' || NEW.key, greatest(changed, NEW.created), greatest(changed, NEW.created)
    FROM auto_top_up WHERE account = NEW.account
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER tell_of_failures AFTER UPDATE OF state ON refill FOR EACH ROW
WHEN (NEW.state = 'failed' AND OLD.state = 'asked')
EXECUTE FUNCTION tell_of_failure();
