-- Programs that may ask people for leave, as they have described themselves.
CREATE TABLE oauth_client (
    id        text PRIMARY KEY,
    name      text NOT NULL,
    redirects text NOT NULL,
    auth      text NOT NULL,
    made      bigint NOT NULL
);
CREATE INDEX oauth_client_made ON oauth_client (made);

-- What a person has allowed one: the token that stands for it, and for which resource.
CREATE TABLE oauth_consent (
    token_grant text PRIMARY KEY,
    account     text NOT NULL,
    client      text NOT NULL,
    resource    text NOT NULL,
    scopes      text NOT NULL,
    at          bigint NOT NULL
);
CREATE INDEX oauth_consent_client ON oauth_consent (client);

-- What buys tokens once: codes and refresh tokens, by their keyed digest.
CREATE TABLE oauth_ticket (
    digest      bytea PRIMARY KEY,
    kind        text NOT NULL CHECK (kind IN ('code', 'refresh')),
    token_grant text NOT NULL,
    expires     bigint NOT NULL,
    redirect    text NOT NULL,
    challenge   text NOT NULL,
    used        bigint
);
CREATE INDEX oauth_ticket_expires ON oauth_ticket (expires);
