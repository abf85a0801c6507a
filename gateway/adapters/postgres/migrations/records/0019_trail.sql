-- Who did what: a chain of entries, each signed; rows are only ever added. `content` is canonical JSON, as it was hashed;
-- `action` and `object` repeat what it says, for finding it.
CREATE TABLE trail (
    number  bigint PRIMARY KEY,
    content text   NOT NULL,
    hash    bytea  NOT NULL,
    key_id  text   NOT NULL,
    mac     bytea  NOT NULL,
    action  text   NOT NULL,
    object  text   NOT NULL
);
CREATE INDEX trail_object ON trail (object, number);
CREATE FUNCTION trail_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the trail is only ever added to';
END
$$;
CREATE TRIGGER trail_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON trail EXECUTE FUNCTION trail_stays();
