-- Whose a browser's wallet became: the first person who signed in with it, and nobody else, also of many at once.
CREATE TABLE wallet_claim (
    account TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL,
    at      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
