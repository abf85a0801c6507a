-- ANALYZE keeps samples of a column's values in a catalogue that no erasing reaches. Of people's own words, and of what
-- names them, it keeps none; nothing is looked up by these columns.
ALTER TABLE token_grant ALTER COLUMN name SET STATISTICS 0, ALTER COLUMN last SET STATISTICS 0;
ALTER TABLE auto_top_up ALTER COLUMN label SET STATISTICS 0;
ALTER TABLE outgoing ALTER COLUMN content SET STATISTICS 0;
ALTER TABLE pay_order ALTER COLUMN url SET STATISTICS 0;
ALTER TABLE sync_jobs ALTER COLUMN error SET STATISTICS 0;
ALTER TABLE freezing ALTER COLUMN reason SET STATISTICS 0;
ALTER TABLE alias ALTER COLUMN why SET STATISTICS 0;
ALTER TABLE alert ALTER COLUMN facts SET STATISTICS 0;
