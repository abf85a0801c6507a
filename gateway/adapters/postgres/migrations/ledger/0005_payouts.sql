-- What leaves owners: `payout`, what of it came back (`returned`), `claw_back`, and what of that was given back
-- (`restored`). They are entries of the account `owner:NAME`, whose debt is what left it.

ALTER TABLE transfer DROP CONSTRAINT transfer_kind_check;
ALTER TABLE transfer ADD CONSTRAINT transfer_kind_check CHECK (kind IN (
    'credit', 'repayment', 'reversal', 'debt', 'share', 'commission', 'payout', 'returned', 'claw_back', 'restored'
));
