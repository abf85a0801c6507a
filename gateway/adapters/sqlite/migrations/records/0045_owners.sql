-- What a payout pays out: what was shared of sales, or what was held and is free. One of each may be under way.
-- `short`: how often the balance at the provider did not cover it.
ALTER TABLE payouts ADD COLUMN source TEXT NOT NULL DEFAULT 'shares' CHECK (source IN ('shares', 'proceeds'));
ALTER TABLE payouts ADD COLUMN short INTEGER NOT NULL DEFAULT 0;
DROP INDEX payouts_under_way;
CREATE UNIQUE INDEX payouts_under_way ON payouts (owner, unit, source)
WHERE state IN ('planned', 'written', 'sending', 'failed');

-- For which owner a program acts, in the role for it.
ALTER TABLE service ADD COLUMN owner TEXT NOT NULL DEFAULT '';
