-- What leaves owners: `payout`, what of it came back (`returned`), `claw_back`, and what of that was given back
-- (`restored`). They are entries of the account `owner:NAME`, whose debt is what left it.

CREATE TABLE transfer_with_owners (
    fold   INTEGER NOT NULL,
    number INTEGER NOT NULL,
    kind   TEXT    NOT NULL CHECK (kind IN (
        'credit', 'repayment', 'reversal', 'debt', 'share', 'commission', 'payout', 'returned', 'claw_back', 'restored'
    )),
    payer  TEXT    NOT NULL,
    payee  TEXT    NOT NULL CHECK (payee <> payer),
    unit   TEXT    NOT NULL,
    micros INTEGER NOT NULL CHECK (micros > 0),
    cause  TEXT    NOT NULL,
    PRIMARY KEY (fold, number)
) STRICT, WITHOUT ROWID;
INSERT INTO transfer_with_owners SELECT * FROM transfer;
DROP TABLE transfer;
ALTER TABLE transfer_with_owners RENAME TO transfer;
