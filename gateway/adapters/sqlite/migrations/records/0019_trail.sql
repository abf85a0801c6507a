-- Who did what: a chain of entries, each signed; rows are only ever added. `content` is canonical JSON, as it was hashed;
-- `action` and `object` repeat what it says, for finding it.
CREATE TABLE trail (
    number  INTEGER PRIMARY KEY,
    content TEXT    NOT NULL,
    hash    BLOB    NOT NULL,
    key_id  TEXT    NOT NULL,
    mac     BLOB    NOT NULL,
    action  TEXT    NOT NULL,
    object  TEXT    NOT NULL
) STRICT;
CREATE INDEX trail_object ON trail (object, number);
CREATE TRIGGER trail_stays BEFORE UPDATE ON trail BEGIN SELECT raise(ABORT, 'the trail is only ever added to'); END;
CREATE TRIGGER trail_grows BEFORE DELETE ON trail BEGIN SELECT raise(ABORT, 'the trail is only ever added to'); END;
