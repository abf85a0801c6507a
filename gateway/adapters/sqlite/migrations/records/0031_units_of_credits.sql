-- What a paid period granted may be a named credit, and was paid with money: NULL where both are of one currency.
ALTER TABLE credited ADD COLUMN unit TEXT;
