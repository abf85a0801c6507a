-- What a paid period of a plan grants has a purse, and may be more than was paid.
ALTER TABLE credited DROP CONSTRAINT credited_check;
ALTER TABLE credited DROP CONSTRAINT credited_paid_check;
ALTER TABLE credited ADD CHECK (paid >= 0), ADD CHECK (credit > 0);
ALTER TABLE credited ADD COLUMN priority bigint NOT NULL DEFAULT 0, ADD COLUMN expires bigint NOT NULL DEFAULT 0;

-- How subscriptions stand, each by its newest event.
CREATE TABLE subscription (
    id       text    PRIMARY KEY,
    account  text    NOT NULL,
    price    text    NOT NULL,
    customer text    NOT NULL,
    state    text    NOT NULL CHECK (state IN ('trial', 'active', 'unpaid', 'paused', 'waiting', 'over')),
    ends     bigint  NOT NULL,
    leaves   boolean NOT NULL,
    is_over  boolean NOT NULL,
    at       bigint  NOT NULL,
    standing bigint  NOT NULL,
    event    text    NOT NULL
);
CREATE INDEX subscription_account ON subscription (account);

-- Invoices of subscriptions that could not be paid; `is_over` stays.
CREATE TABLE unpaid_invoice (
    invoice      text    PRIMARY KEY,
    subscription text    NOT NULL,
    url          text,
    is_over      boolean NOT NULL
);
CREATE INDEX unpaid_invoice_subscription ON unpaid_invoice (subscription) WHERE NOT is_over;

-- What an order is for, if it is a plan.
ALTER TABLE pay_order ADD COLUMN plan text;
