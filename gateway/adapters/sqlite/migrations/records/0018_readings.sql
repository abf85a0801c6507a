-- What the meter of a request with a price by use read, for a while: numbers, never a body.
CREATE TABLE reading (
    request  TEXT    NOT NULL PRIMARY KEY,
    at       INTEGER NOT NULL,
    contents TEXT    NOT NULL
) STRICT;
CREATE INDEX reading_at ON reading (at);
