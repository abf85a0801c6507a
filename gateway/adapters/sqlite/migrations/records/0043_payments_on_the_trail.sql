-- What happened to payments, payouts and charges, with what operators give back of requests.
DROP VIEW transaction_audit;
CREATE VIEW transaction_audit AS
SELECT number, json_extract(content, '$.at') AS at, json_extract(content, '$.actor') AS actor,
    json_extract(content, '$.role') AS role, action, object, json_extract(content, '$.reason') AS reason,
    json_extract(content, '$.facts.before') AS before_id, json_extract(content, '$.facts.after') AS after_id, hash
FROM trail
WHERE action GLOB 'charge.*' OR action GLOB 'payout.*' OR action GLOB 'payment.*' OR action GLOB 'refund.*'
    OR action IN ('request.refund', 'account.join');
