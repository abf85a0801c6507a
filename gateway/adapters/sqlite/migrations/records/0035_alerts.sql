-- What an operator has to know of, each cause once: one row is open (`ended` is NULL) for a name and what it is about.
-- `seen`: when it was last true. `told`: how often it was told of; what is told is written below, in the same step.
CREATE TABLE alert (
    id       TEXT PRIMARY KEY DEFAULT ('alr_' || lower(hex(randomblob(12)))),
    name     TEXT NOT NULL,
    subject  TEXT NOT NULL,
    severity TEXT NOT NULL,
    facts    TEXT NOT NULL,
    opened   INTEGER NOT NULL,
    seen     INTEGER NOT NULL,
    ended    INTEGER,
    told     INTEGER NOT NULL,
    told_at  INTEGER NOT NULL,
    acked    INTEGER
) STRICT;
CREATE UNIQUE INDEX alert_open ON alert (name, subject) WHERE ended IS NULL;
CREATE INDEX alert_opened ON alert (opened);

-- Of which nobody is told until then.
CREATE TABLE alert_mute (
    name  TEXT PRIMARY KEY,
    until INTEGER NOT NULL
) STRICT;

-- What all hosts have counted, ten seconds by ten seconds. Only ever added to, and dropped when it is old.
CREATE TABLE alert_count (
    moment  INTEGER NOT NULL,
    measure TEXT NOT NULL,
    number  INTEGER NOT NULL,
    PRIMARY KEY (moment, measure)
) STRICT, WITHOUT ROWID;

-- What accounts spent, hour by hour, until it is learned.
CREATE TABLE alert_spend (
    hour    INTEGER NOT NULL,
    account TEXT NOT NULL,
    micros  INTEGER NOT NULL,
    PRIMARY KEY (hour, account)
) STRICT, WITHOUT ROWID;

-- How somebody, or something that is counted, usually is (`core/anomalies.py`).
CREATE TABLE alert_habit (
    account TEXT PRIMARY KEY,
    state   TEXT NOT NULL,
    changed INTEGER NOT NULL
) STRICT;
CREATE INDEX alert_habit_changed ON alert_habit (changed);

-- Who looks for all, until when.
CREATE TABLE alert_watch (
    one   INTEGER PRIMARY KEY CHECK (one = 1),
    who   TEXT NOT NULL,
    until INTEGER NOT NULL
) STRICT;

CREATE INDEX event_received ON event (received, type);

-- Written down in the transaction that makes it true, whoever makes it.
CREATE TRIGGER tell_of_opened_alerts AFTER INSERT ON alert WHEN NEW.told > 0
BEGIN
    INSERT INTO outgoing (type, account, content, cause, created, due)
    VALUES ('alert.opened', '', json_object('alert', NEW.id, 'name', NEW.name, 'subject', NEW.subject,
        'severity', NEW.severity, 'facts', json(NEW.facts), 'opened', NEW.opened),
        NEW.id || ' opened', NEW.told_at, NEW.told_at);
END;

CREATE TRIGGER tell_of_alerts_again AFTER UPDATE OF told ON alert WHEN NEW.told > OLD.told
BEGIN
    INSERT INTO outgoing (type, account, content, cause, created, due)
    VALUES (CASE WHEN OLD.told = 0 THEN 'alert.opened' ELSE 'alert.reminded' END, '',
        json_object('alert', NEW.id, 'name', NEW.name, 'subject', NEW.subject, 'severity', NEW.severity,
            'facts', json(NEW.facts), 'opened', NEW.opened),
        NEW.id || ' told ' || NEW.told, NEW.told_at, NEW.told_at)
    ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER tell_of_ended_alerts AFTER UPDATE OF ended ON alert
WHEN NEW.ended IS NOT NULL AND OLD.ended IS NULL AND NEW.told > 0
BEGIN
    INSERT INTO outgoing (type, account, content, cause, created, due)
    VALUES ('alert.ended', '', json_object('alert', NEW.id, 'name', NEW.name, 'subject', NEW.subject,
        'severity', NEW.severity, 'facts', json(NEW.facts), 'opened', NEW.opened, 'ended', NEW.ended),
        NEW.id || ' ended', NEW.ended, NEW.ended)
    ON CONFLICT DO NOTHING;
END;
