-- Programs of the platform's own that call us. Of a secret there is a keyed digest; `older` is good until `older_until`.
CREATE TABLE service (
    name        text    PRIMARY KEY,
    role        text    NOT NULL,
    digest      bytea NOT NULL,
    pepper_id   text    NOT NULL,
    created     bigint NOT NULL,
    rotated     bigint NOT NULL,
    older       bytea,
    older_until bigint NOT NULL
);
