-- What went back of a fee: `back` of it, by refunds and disputes; `dispute_fee` is what the provider keeps for those.
-- Of what is held for a seller, that it is due to them.
ALTER TABLE stripe_transactions ADD COLUMN back bigint NOT NULL DEFAULT 0;
ALTER TABLE stripe_transactions ADD COLUMN dispute_fee bigint NOT NULL DEFAULT 0;
ALTER TABLE stripe_transactions ADD CONSTRAINT stripe_transactions_back_check CHECK (back BETWEEN 0 AND fee);
ALTER TABLE stripe_transactions DROP CONSTRAINT stripe_transactions_state_check;
ALTER TABLE stripe_transactions ADD CONSTRAINT stripe_transactions_state_check CHECK (state IN (
    'planned', 'sending', 'retrying', 'pending', 'succeeded', 'failed', 'refunded', 'disputed'
));
ALTER TABLE stripe_transactions DROP CONSTRAINT stripe_transactions_seller_check;
ALTER TABLE stripe_transactions ADD CONSTRAINT stripe_transactions_seller_check
    CHECK (seller IN ('none', 'held', 'due', 'sending', 'paid'));
