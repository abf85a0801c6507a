-- The money. Amounts are integer micros of the unit; times are milliseconds since 1970.

-- available = credited - spent - leased. A row is made by the first credit.
CREATE TABLE account (
    id       INTEGER PRIMARY KEY,
    holder   TEXT    NOT NULL,
    unit     TEXT    NOT NULL,
    priority INTEGER NOT NULL DEFAULT 0,
    expires  INTEGER NOT NULL DEFAULT 0,
    credited INTEGER NOT NULL DEFAULT 0 CHECK (credited >= 0),
    spent    INTEGER NOT NULL DEFAULT 0 CHECK (spent >= 0),
    leased   INTEGER NOT NULL DEFAULT 0 CHECK (leased >= 0),
    debt     INTEGER NOT NULL DEFAULT 0 CHECK (debt >= 0),
    UNIQUE (holder, unit, priority, expires),
    CHECK (credited - spent - leased >= 0)
) STRICT;

-- Money that arrived. `ref` is its money key and never expires: one ref is credited once.
CREATE TABLE credit (
    ref     TEXT    PRIMARY KEY,
    account INTEGER NOT NULL REFERENCES account (id),
    micros  INTEGER NOT NULL CHECK (micros > 0),
    kind    TEXT    NOT NULL,
    reason  TEXT    NOT NULL,
    at      INTEGER NOT NULL,
    batch   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX credit_account ON credit (account);

-- What records were priced by.
CREATE TABLE tariff (
    id                INTEGER PRIMARY KEY,
    route             TEXT    NOT NULL,
    owner             TEXT    NOT NULL,
    commission_points INTEGER NOT NULL,
    price             TEXT    NOT NULL,
    UNIQUE (route, owner, commission_points, price)
) STRICT;

-- One row a commit: packed records, notes as JSON lines, and a hash over both and the hash before.
-- `first` numbers the first record; `started` is the number up to which answers had begun.
CREATE TABLE batch (
    seq     INTEGER PRIMARY KEY,
    at      INTEGER NOT NULL,
    first   INTEGER NOT NULL,
    count   INTEGER NOT NULL,
    started INTEGER NOT NULL,
    payload BLOB    NOT NULL,
    notes   TEXT    NOT NULL,
    hash    BLOB    NOT NULL CHECK (length(hash) = 32)
) STRICT;
CREATE INDEX batch_at ON batch (at);
