-- Who has signed in on the operators' pages: a digest of what the browser keeps, and a stamp of the token that was good.
CREATE TABLE operator_session (
    digest bytea NOT NULL PRIMARY KEY,
    name   text NOT NULL,
    rank   text NOT NULL,
    stamp  bytea NOT NULL,
    begun  bigint NOT NULL,
    seen   bigint NOT NULL
);
-- Links that signed somebody in: none does so twice.
CREATE TABLE operator_link (
    nonce bytea NOT NULL PRIMARY KEY,
    used  bigint NOT NULL
);
