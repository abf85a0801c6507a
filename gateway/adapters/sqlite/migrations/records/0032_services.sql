-- Programs of the platform's own that call us. Of a secret there is a keyed digest; `older` is good until `older_until`.
CREATE TABLE service (
    name        TEXT    PRIMARY KEY,
    role        TEXT    NOT NULL,
    digest      BLOB    NOT NULL,
    pepper_id   TEXT    NOT NULL,
    created     INTEGER NOT NULL,
    rotated     INTEGER NOT NULL,
    older       BLOB,
    older_until INTEGER NOT NULL
) STRICT;
