-- What happened to payments, payouts and charges, with what operators give back of requests.
CREATE OR REPLACE VIEW transaction_audit AS
SELECT number, (content::json ->> 'at')::bigint AS at, content::json ->> 'actor' AS actor,
    content::json ->> 'role' AS role, action, object, content::json ->> 'reason' AS reason,
    content::json -> 'facts' ->> 'before' AS before_id, content::json -> 'facts' ->> 'after' AS after_id, hash
FROM trail
WHERE action LIKE 'charge.%' OR action LIKE 'payout.%' OR action LIKE 'payment.%' OR action LIKE 'refund.%'
    OR action IN ('request.refund', 'account.join');
