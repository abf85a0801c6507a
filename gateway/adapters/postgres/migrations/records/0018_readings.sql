-- What the meter of a request with a price by use read, for a while: numbers, never a body.
CREATE TABLE reading (
    request  text   NOT NULL PRIMARY KEY,
    at       bigint NOT NULL,
    contents text   NOT NULL
);
CREATE INDEX reading_at ON reading (at);
