-- Who has signed in on the operators' pages: a digest of what the browser keeps, and a stamp of the token that was good.
CREATE TABLE operator_session (
    digest BLOB NOT NULL PRIMARY KEY,
    name   TEXT NOT NULL,
    rank   TEXT NOT NULL,
    stamp  BLOB NOT NULL,
    begun  INTEGER NOT NULL,
    seen   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
-- Links that signed somebody in: none does so twice.
CREATE TABLE operator_link (
    nonce BLOB NOT NULL PRIMARY KEY,
    used  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
