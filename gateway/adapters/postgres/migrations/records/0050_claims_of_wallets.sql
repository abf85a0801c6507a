-- Whose a browser's wallet became: the first person who signed in with it, and nobody else, also of many at once.
CREATE TABLE wallet_claim (
    account text NOT NULL PRIMARY KEY,
    user_id text NOT NULL,
    at      bigint NOT NULL
);
