-- Where a credit went, if into several purses: `priority@expires=micros` of each.
ALTER TABLE credited ADD COLUMN shares text;
