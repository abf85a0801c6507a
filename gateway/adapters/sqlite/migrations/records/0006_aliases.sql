-- Accounts that are another one now. `target` is never itself an alias. `asked` counts how often the books were to be
-- joined, `done` what of that was done. Never dropped: a payment for the old account may still come.
CREATE TABLE alias (
    number  INTEGER PRIMARY KEY,
    account TEXT    NOT NULL UNIQUE,
    target  TEXT    NOT NULL CHECK (target <> account),
    why     TEXT    NOT NULL,
    at      INTEGER NOT NULL,
    asked   INTEGER NOT NULL DEFAULT 1,
    done    INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX alias_target ON alias (target);
CREATE INDEX alias_open ON alias (number) WHERE done < asked;

-- Whoever was an alias of the account is one of the new account; and the old one's card pays no more.
CREATE TRIGGER alias_follows AFTER INSERT ON alias
BEGIN
    UPDATE alias SET target = NEW.target, asked = asked + 1 WHERE target = NEW.account;
    UPDATE auto_top_up SET wanted = 0, paused = NULL, changed = max(changed, NEW.at)
    WHERE account = NEW.account AND wanted;
END;

-- By what a payment shows who has paid before: a keyed digest of a card's fingerprint, or of Link's e-mail address,
-- which is kept sealed, too.
CREATE TABLE payer (
    digest    BLOB    PRIMARY KEY,
    pepper_id TEXT    NOT NULL,
    account   TEXT    NOT NULL,
    at        INTEGER NOT NULL,
    key_id    TEXT,
    sealed    BLOB
) STRICT, WITHOUT ROWID;
CREATE INDEX payer_account ON payer (account);
CREATE INDEX payer_key ON payer (key_id);

-- The browsers that came back from a checkout. The first one counts, and a second one makes it count for nobody.
CREATE TABLE homecoming (
    session TEXT    PRIMARY KEY,
    browser BLOB    NOT NULL,
    account TEXT    NOT NULL,
    at      INTEGER NOT NULL,
    state   TEXT    NOT NULL CHECK (state IN ('coded', 'waiting', 'known', 'joined', 'nobody')),
    key_id  TEXT,
    sealed  BLOB
) STRICT, WITHOUT ROWID;
CREATE INDEX homecoming_open ON homecoming (at) WHERE state = 'waiting';
CREATE INDEX homecoming_coded ON homecoming (browser) WHERE state = 'coded';
