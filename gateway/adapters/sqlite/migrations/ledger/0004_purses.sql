-- Purses whose time is over are looked for every half minute.
CREATE INDEX account_expires ON account (expires) WHERE expires > 0;
