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
