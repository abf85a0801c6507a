-- What a paid period of a plan grants has a purse, and may be more than was paid.
CREATE TABLE credited_in (
    payment  TEXT    PRIMARY KEY,
    session  TEXT    NOT NULL,
    account  TEXT    NOT NULL,
    currency TEXT    NOT NULL,
    paid     INTEGER NOT NULL CHECK (paid >= 0),
    credit   INTEGER NOT NULL CHECK (credit > 0),
    priority INTEGER NOT NULL DEFAULT 0,
    expires  INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
INSERT INTO credited_in (payment, session, account, currency, paid, credit)
SELECT payment, session, account, currency, paid, credit FROM credited;
DROP TABLE credited;
ALTER TABLE credited_in RENAME TO credited;

-- How subscriptions stand, each by its newest event.
CREATE TABLE subscription (
    id       TEXT    PRIMARY KEY,
    account  TEXT    NOT NULL,
    price    TEXT    NOT NULL,
    customer TEXT    NOT NULL,
    state    TEXT    NOT NULL CHECK (state IN ('trial', 'active', 'unpaid', 'paused', 'waiting', 'over')),
    ends     INTEGER NOT NULL,
    leaves   INTEGER NOT NULL,
    is_over  INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    standing INTEGER NOT NULL,
    event    TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX subscription_account ON subscription (account);

-- Invoices of subscriptions that could not be paid; `is_over` stays.
CREATE TABLE unpaid_invoice (
    invoice      TEXT    PRIMARY KEY,
    subscription TEXT    NOT NULL,
    url          TEXT,
    is_over      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX unpaid_invoice_subscription ON unpaid_invoice (subscription) WHERE NOT is_over;

-- What an order is for, if it is a plan.
ALTER TABLE pay_order ADD COLUMN plan TEXT;
