-- What the provider pays out of owners' accounts to their banks, as it last said.
CREATE TABLE payout_sent_on (
    id       text PRIMARY KEY,
    account  text NOT NULL,
    currency text NOT NULL,
    micros   bigint NOT NULL,
    status   text NOT NULL,
    arrives  bigint NOT NULL,
    at       bigint NOT NULL,
    error    text
);
CREATE INDEX payout_sent_on_account ON payout_sent_on (account, at);
