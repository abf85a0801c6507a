-- What an operator has to know of, each cause once: one row is open (`ended` is NULL) for a name and what it is about.
-- `seen`: when it was last true. `told`: how often it was told of; what is told is written below, in the same step.
CREATE TABLE alert (
    id       text PRIMARY KEY DEFAULT ('alr_' || substr(replace(gen_random_uuid()::text, '-', ''), 1, 24)),
    name     text NOT NULL,
    subject  text NOT NULL,
    severity text NOT NULL,
    facts    text NOT NULL,
    opened   bigint NOT NULL,
    seen     bigint NOT NULL,
    ended    bigint,
    told     bigint NOT NULL,
    told_at  bigint NOT NULL,
    acked    bigint
);
CREATE UNIQUE INDEX alert_open ON alert (name, subject) WHERE ended IS NULL;
CREATE INDEX alert_opened ON alert (opened);

-- Of which nobody is told until then.
CREATE TABLE alert_mute (
    name  text PRIMARY KEY,
    until bigint NOT NULL
);

-- What all hosts have counted, ten seconds by ten seconds. Only ever added to, and dropped when it is old.
CREATE TABLE alert_count (
    moment  bigint NOT NULL,
    measure text NOT NULL,
    number  bigint NOT NULL,
    PRIMARY KEY (moment, measure)
);

-- What accounts spent, hour by hour, until it is learned.
CREATE TABLE alert_spend (
    hour    bigint NOT NULL,
    account text NOT NULL,
    micros  bigint NOT NULL,
    PRIMARY KEY (hour, account)
);

-- How somebody, or something that is counted, usually is (`core/anomalies.py`).
CREATE TABLE alert_habit (
    account text PRIMARY KEY,
    state   text NOT NULL,
    changed bigint NOT NULL
);
CREATE INDEX alert_habit_changed ON alert_habit (changed);

-- Who looks for all, until when.
CREATE TABLE alert_watch (
    one   bigint PRIMARY KEY CHECK (one = 1),
    who   text NOT NULL,
    until bigint NOT NULL
);

CREATE INDEX event_received ON event (received, type);

-- Written down in the transaction that makes it true, whoever makes it.
CREATE FUNCTION tell_of_alert() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    was bigint := 0;
    says text := 'alert.opened';
    step text := ' opened';
    moment bigint := NEW.told_at;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        was := OLD.told;
        IF NEW.ended IS NOT NULL AND OLD.ended IS NULL THEN
            says := 'alert.ended';
            step := ' ended';
            moment := NEW.ended;
        ELSIF NEW.told > was THEN
            step := ' told ' || NEW.told;
            says := CASE WHEN was = 0 THEN 'alert.opened' ELSE 'alert.reminded' END;
        ELSE
            RETURN NULL;
        END IF;
    END IF;
    IF NEW.told = 0 THEN
        RETURN NULL;
    END IF;
    INSERT INTO outgoing (type, account, content, cause, created, due)
    VALUES (says, '', json_strip_nulls(json_build_object('alert', NEW.id, 'name', NEW.name, 'subject', NEW.subject,
        'severity', NEW.severity, 'facts', NEW.facts::json, 'opened', NEW.opened, 'ended', NEW.ended))::text,
        NEW.id || step, moment, moment)
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER tell_of_alerts AFTER INSERT OR UPDATE OF told, ended ON alert FOR EACH ROW
EXECUTE FUNCTION tell_of_alert();
