-- What the fold derives from the batches of all hosts. Rows are appended and never changed, but for those of a fold
-- under way; one is under way at a time, and their numbers are the order in which they were made.

-- Whose turn it is to fold and prune: one row. When it is over, or taken, the next one's; what was begun goes on.
CREATE TABLE housekeeping (
    single  boolean     PRIMARY KEY DEFAULT true CHECK (single),
    name    text        NOT NULL DEFAULT '',
    command boolean     NOT NULL DEFAULT false,
    until   timestamptz NOT NULL DEFAULT '-infinity'
);
INSERT INTO housekeeping DEFAULT VALUES;

-- A run of consecutive batches of one host and one hour. While it is not `done`, the rows of accounts up to `account`
-- are written. `next`, `started`, `chain` and `tariffs` (how many the host has noted) are as after its last batch;
-- `hash` is over all that was folded up to here, whichever host it is of.
CREATE TABLE fold (
    number  bigint  PRIMARY KEY,
    keeper  integer NOT NULL REFERENCES keeper (id),
    last    bigint  NOT NULL,
    first   bigint  NOT NULL,
    hour    bigint  NOT NULL,
    next    bigint  NOT NULL,
    started bigint  NOT NULL,
    tariffs integer NOT NULL,
    chain   bytea   NOT NULL CHECK (length(chain) = 32),
    account bigint  NOT NULL,
    written bigint  NOT NULL,
    hash    bytea   NOT NULL CHECK (length(hash) = 32),
    done    boolean NOT NULL,
    UNIQUE (keeper, last),
    CHECK (first <= last)
);
CREATE UNIQUE INDEX fold_under_way ON fold (done) WHERE NOT done;

-- Double entry: from one account to another. `cause` is the ref of a credit, or the owner and commission of usage.
CREATE TABLE transfer (
    fold   bigint NOT NULL,
    number bigint NOT NULL,
    kind   text   NOT NULL CHECK (kind IN ('credit', 'repayment', 'reversal', 'debt', 'share', 'commission')),
    payer  text   NOT NULL,
    payee  text   NOT NULL CHECK (payee <> payer),
    unit   text   NOT NULL,
    micros bigint NOT NULL CHECK (micros > 0),
    cause  text   NOT NULL,
    PRIMARY KEY (fold, number)
);

-- What an account used of a host's tariff in the hour of a fold.
CREATE TABLE usage_hour (
    fold     bigint  NOT NULL,
    account  bigint  NOT NULL,
    tariff   integer NOT NULL,
    hour     bigint  NOT NULL,
    requests bigint  NOT NULL,
    micros   bigint  NOT NULL,
    PRIMARY KEY (fold, account, tariff)
);
CREATE INDEX usage_hour_account ON usage_hour (account, fold);

-- What was rounded off an owner's commissions so far, in ten-thousandths of a micro.
CREATE TABLE carry (
    owner             text    NOT NULL,
    unit              text    NOT NULL,
    commission_points integer NOT NULL,
    carry             integer NOT NULL CHECK (carry BETWEEN 0 AND 9999),
    PRIMARY KEY (owner, unit, commission_points)
);

-- Where a host's batches begin once old ones were pruned: what its chain goes on from. `hash` is that of batch `seq`,
-- `folded` that of its fold, and `mac` is over all of it and the host's first `tariffs` tariffs, under the key of the
-- chains' heads.
CREATE TABLE anchor (
    keeper  integer PRIMARY KEY REFERENCES keeper (id),
    seq     bigint  NOT NULL,
    next    bigint  NOT NULL,
    started bigint  NOT NULL,
    tariffs integer NOT NULL,
    hash    bytea   NOT NULL CHECK (length(hash) = 32),
    fold    bigint  NOT NULL,
    folded  bytea   NOT NULL CHECK (length(folded) = 32),
    mac     bytea   NOT NULL CHECK (length(mac) = 32)
);

-- What was given back of one request, and where its corrections stand: one request is refunded once, by one host.
CREATE TABLE refund (
    request text    PRIMARY KEY,
    keeper  integer NOT NULL REFERENCES keeper (id),
    batch   bigint  NOT NULL
);

-- Whether it is their turn now. A command takes the turn of a gateway, and nobody that of a command.
CREATE FUNCTION keep_house(who text, as_command boolean, seconds double precision) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    UPDATE housekeeping
        SET name = who, command = as_command, until = clock_timestamp() + seconds * interval '1 s'
        WHERE name = who OR until <= clock_timestamp() OR (as_command AND NOT command);
    RETURN FOUND;
END $$;
