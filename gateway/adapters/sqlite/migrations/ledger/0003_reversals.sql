-- Money that is taken back, and what an account owes when it had less. available = credited - spent - leased - debt.

-- `ref` is a money key that a credit cannot have too. `taken` was available when it came and left `credited`; the rest
-- of `micros` went into the account's debt.
CREATE TABLE reversal (
    ref     TEXT    PRIMARY KEY,
    account INTEGER NOT NULL REFERENCES account (id),
    micros  INTEGER NOT NULL CHECK (micros > 0),
    taken   INTEGER NOT NULL CHECK (taken BETWEEN 0 AND micros),
    kind    TEXT    NOT NULL,
    reason  TEXT    NOT NULL,
    at      INTEGER NOT NULL,
    batch   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX reversal_account ON reversal (account);

-- What of a credit paid the account's debt and so never came into `credited`.
ALTER TABLE credit ADD COLUMN repaid INTEGER NOT NULL DEFAULT 0 CHECK (repaid BETWEEN 0 AND micros);

-- Transfers of new kinds: `reversal` (what was taken), `debt` (what was not) and `repayment`.
CREATE TABLE transfer_of_all_kinds (
    fold   INTEGER NOT NULL,
    number INTEGER NOT NULL,
    kind   TEXT    NOT NULL CHECK (kind IN ('credit', 'repayment', 'reversal', 'debt', 'share', 'commission')),
    payer  TEXT    NOT NULL,
    payee  TEXT    NOT NULL CHECK (payee <> payer),
    unit   TEXT    NOT NULL,
    micros INTEGER NOT NULL CHECK (micros > 0),
    cause  TEXT    NOT NULL,
    PRIMARY KEY (fold, number)
) STRICT, WITHOUT ROWID;
INSERT INTO transfer_of_all_kinds SELECT * FROM transfer;
DROP TABLE transfer;
ALTER TABLE transfer_of_all_kinds RENAME TO transfer;
