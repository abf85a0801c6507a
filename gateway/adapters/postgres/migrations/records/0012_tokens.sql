-- A token as its holder knows it: one or, for a while after a rotation, several secrets (rows of `token`) stand for it.
-- `change` numbers what others have to hear of; null until something of it was changed.
CREATE TABLE token_grant (
    id      text   PRIMARY KEY,
    account text   NOT NULL,
    parent  text,
    name    text   NOT NULL,
    last    text   NOT NULL,
    created bigint NOT NULL,
    expires bigint,
    revoked bigint,
    used    bigint,
    terms   text,
    change  bigint UNIQUE
);
CREATE INDEX token_grant_account ON token_grant (account);

ALTER TABLE token ADD COLUMN grant_id text;
INSERT INTO token_grant (id, account, name, last, created, expires, revoked)
SELECT 'tok_' || encode(substring(access_token_hash FROM 1 FOR 10), 'hex'), account, '', '', created, expires, revoked
FROM token;
UPDATE token SET grant_id = 'tok_' || encode(substring(access_token_hash FROM 1 FOR 10), 'hex');
CREATE INDEX token_of_grant ON token (grant_id);

-- Which secret took the place of which; the newer one is sealed, for whoever asked and did not hear the answer.
CREATE TABLE token_rotation (
    older      bytea  PRIMARY KEY,
    newer      bytea  NOT NULL,
    pepper_id  text   NOT NULL,
    last       text   NOT NULL,
    sealed_by  text   NOT NULL,
    sealed     bytea  NOT NULL,
    at         bigint NOT NULL,
    good_until bigint NOT NULL
);
