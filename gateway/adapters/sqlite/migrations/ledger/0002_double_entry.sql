-- What the fold derives from the batches. Rows are appended and never changed, but for those of a fold under way.

-- A run of consecutive batches of one hour. While `done` is 0, the rows of accounts up to `account` are written.
-- `next`, `started`, `chain` and `tariffs` (how many are noted) are as after its last batch; `hash` is over all that was
-- folded up to here.
CREATE TABLE fold (
    last    INTEGER PRIMARY KEY,
    first   INTEGER NOT NULL,
    hour    INTEGER NOT NULL,
    next    INTEGER NOT NULL,
    started INTEGER NOT NULL,
    tariffs INTEGER NOT NULL,
    chain   BLOB    NOT NULL CHECK (length(chain) = 32),
    account INTEGER NOT NULL,
    written INTEGER NOT NULL,
    hash    BLOB    NOT NULL CHECK (length(hash) = 32),
    done    INTEGER NOT NULL CHECK (done IN (0, 1)),
    CHECK (first <= last)
) STRICT;

-- Double entry: from one account to another. `cause` is the ref of a credit, or the owner and commission of usage.
CREATE TABLE transfer (
    fold   INTEGER NOT NULL,
    number INTEGER NOT NULL,
    kind   TEXT    NOT NULL CHECK (kind IN ('credit', 'share', 'commission')),
    payer  TEXT    NOT NULL,
    payee  TEXT    NOT NULL CHECK (payee <> payer),
    unit   TEXT    NOT NULL,
    micros INTEGER NOT NULL CHECK (micros > 0),
    cause  TEXT    NOT NULL,
    PRIMARY KEY (fold, number)
) STRICT, WITHOUT ROWID;

-- What an account used of a tariff in the hour of a fold.
CREATE TABLE usage_hour (
    fold     INTEGER NOT NULL,
    account  INTEGER NOT NULL,
    tariff   INTEGER NOT NULL,
    hour     INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    micros   INTEGER NOT NULL,
    PRIMARY KEY (fold, account, tariff)
) STRICT, WITHOUT ROWID;
CREATE INDEX usage_hour_account ON usage_hour (account, fold);

-- What was rounded off an owner's commissions so far, in ten-thousandths of a micro.
CREATE TABLE carry (
    owner             TEXT    NOT NULL,
    unit              TEXT    NOT NULL,
    commission_points INTEGER NOT NULL,
    carry             INTEGER NOT NULL CHECK (carry BETWEEN 0 AND 9999),
    PRIMARY KEY (owner, unit, commission_points)
) STRICT, WITHOUT ROWID;

-- Where the batches begin once old ones were pruned: what the chain goes on from. `hash` is that of batch `seq`,
-- `folded` that of its fold, and `mac` is over all of it and the first `tariffs` tariffs, under the key of the head.
CREATE TABLE anchor (
    seq     INTEGER PRIMARY KEY,
    next    INTEGER NOT NULL,
    started INTEGER NOT NULL,
    tariffs INTEGER NOT NULL,
    hash    BLOB    NOT NULL CHECK (length(hash) = 32),
    folded  BLOB    NOT NULL CHECK (length(folded) = 32),
    mac     BLOB    NOT NULL CHECK (length(mac) = 32)
) STRICT;
