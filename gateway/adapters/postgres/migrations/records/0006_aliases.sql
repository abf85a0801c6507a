-- Accounts that are another one now. `target` is never itself an alias. `asked` counts how often the books were to be
-- joined, `done` what of that was done. Never dropped: a payment for the old account may still come.
CREATE TABLE alias (
    number  bigint  PRIMARY KEY,
    account text    NOT NULL UNIQUE,
    target  text    NOT NULL CHECK (target <> account),
    why     text    NOT NULL,
    at      bigint  NOT NULL,
    asked   bigint  NOT NULL DEFAULT 1,
    done    bigint  NOT NULL DEFAULT 0
);
CREATE INDEX alias_target ON alias (target);
CREATE INDEX alias_open ON alias (number) WHERE done < asked;

-- Whoever was an alias of the account is one of the new account; and the old one's card pays no more.
CREATE FUNCTION alias_follows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE alias SET target = NEW.target, asked = asked + 1 WHERE target = NEW.account;
    UPDATE auto_top_up SET wanted = false, paused = NULL, changed = greatest(changed, NEW.at)
    WHERE account = NEW.account AND wanted;
    RETURN NULL;
END $$;
CREATE TRIGGER alias_follows AFTER INSERT ON alias FOR EACH ROW EXECUTE FUNCTION alias_follows();

-- By what a payment shows who has paid before: a keyed digest of a card's fingerprint, or of Link's e-mail address,
-- which is kept sealed, too.
CREATE TABLE payer (
    digest    bytea   PRIMARY KEY,
    pepper_id text    NOT NULL,
    account   text    NOT NULL,
    at        bigint  NOT NULL,
    key_id    text,
    sealed    bytea
);
CREATE INDEX payer_account ON payer (account);
CREATE INDEX payer_key ON payer (key_id);

-- The browsers that came back from a checkout. The first one counts, and a second one makes it count for nobody.
CREATE TABLE homecoming (
    session text    PRIMARY KEY,
    browser bytea   NOT NULL,
    account text    NOT NULL,
    at      bigint  NOT NULL,
    state   text    NOT NULL CHECK (state IN ('coded', 'waiting', 'known', 'joined', 'nobody')),
    key_id  text,
    sealed  bytea
);
CREATE INDEX homecoming_open ON homecoming (at) WHERE state = 'waiting';
CREATE INDEX homecoming_coded ON homecoming (browser) WHERE state = 'coded';
