"""Claims of idempotency keys as flat columns, the same in every database that keeps them."""

from collections.abc import Sequence
from typing import Any

from gateway.core.idempotency import Claim

COLUMNS = "account, key, fingerprint, request, holder, lease, expires, state, sealed_by, answer"


def of_claim(claim: Claim) -> tuple[object, ...]:
    whose = (claim.account, claim.key, claim.fingerprint, claim.request, claim.holder)
    return *whose, claim.lease_ms, claim.expires_ms, claim.state, claim.sealed_by, claim.answer


def claim_of(row: Sequence[Any]) -> Claim:
    account, key, fingerprint, request, holder, lease, expires, state, sealed_by, answer = row
    return Claim(account, key, fingerprint, request, holder, lease, expires, state, sealed_by, answer)


def forgetting(bytes_max: str, count: str, *, empty: str) -> str:
    """Of all that is kept, more than `bytes_max`: the oldest, `count` of them at a time. These are names of values."""
    return f"""UPDATE idempotency_key SET state = 'not_kept', sealed_by = '', answer = {empty} WHERE (account, key) IN
(SELECT account, key FROM (SELECT account, key, sum(size) OVER (ORDER BY expires, account, key) - size AS older FROM
(SELECT account, key, expires, size FROM idempotency_key WHERE state = 'kept'
ORDER BY expires, account, key LIMIT {count}) AS oldest) AS added
WHERE older < (SELECT coalesce(sum(size), 0) FROM idempotency_key WHERE state = 'kept') - {bytes_max})"""  # noqa: S608
