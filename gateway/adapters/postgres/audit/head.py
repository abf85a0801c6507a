"""The head: what it proves is that the end of one host's chain is still there, and that it was not written anew.

The database cannot tell: an older copy of it hangs together as well as the newest. Each host keeps the head of its own
chain in a file, under a key that is not in the database; so each host can tell of its own, and whoever was given the
file of another can tell of that one. It may lag behind the chain, and never leads it. A read replica
may lag behind the head itself: there it tells nothing until that has caught up.
"""

import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.adapters.postgres.audit.report import Findings
from gateway.adapters.postgres.sessions import Connection

_FIND = """SELECT (SELECT hash FROM batch WHERE batch.keeper = keeper.id AND batch.seq = $2) AS hash,
coalesce((SELECT max(seq) FROM batch WHERE batch.keeper = keeper.id), 0) AS last,
coalesce((SELECT seq FROM anchor WHERE anchor.keeper = keeper.id), 0) AS pruned FROM keeper WHERE name = $1"""


@dataclass(frozen=True, slots=True)
class KeptHead:
    """The contents of a head's file, as they were before the books were looked at; None if there is none."""

    name: str
    text: bytes | None


async def check_head(
    connection: Connection, kept: KeptHead | None, keys: Sequence[bytes] | None, findings: Findings
) -> str:
    """How the head stands: `verified …`, `not checked: …`, or `failed: …`, which is also a finding."""
    if kept is None or kept.text is None:
        where = f"; {kept.name} is not there" if kept is not None else ""
        return f"not checked: each host keeps the head of its own chain{where}"
    if keys is None:
        return "not checked: no key was given, so nobody knows whether the last rows are still there"
    try:
        host, seq, hash = _read(kept.text, keys)
    except ValueError as error:
        findings.add("head", None, None, f"{kept.name} {error}")
        return f"failed: {kept.name} {error}"
    found = await _wrong(connection, host, seq, hash)
    if found is None:
        return f"verified, of the chain of {host!r} up to batch {seq}; each other host keeps its own"
    wrong, ends_with = found
    if ends_with is not None:
        if await connection.fetchval("SELECT pg_is_in_recovery()"):
            return f"not checked: this is a replica, and batch {seq} of {host!r} has not come to it"
        findings.bad_batch_follows(ends_with)
    findings.add("head", host, None, wrong)
    return f"failed: {wrong}"


def _read(text: bytes, keys: Sequence[bytes]) -> tuple[str, int, str]:
    try:
        told = json.loads(text)
        host, seq, hash, mac = told["host"], told["seq"], told["hash"], str(told["mac"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError("is not a head that the gateway wrote") from None
    signed = f"{seq} {hash} of {host}".encode("utf-8", "surrogatepass")
    given = mac.encode("utf-8", "surrogatepass")
    if not any(hmac.compare_digest(given, hmac.digest(key, signed, "sha256").hex().encode()) for key in keys):
        raise ValueError("is not signed by a key of this gateway")
    return host, seq, hash


async def _wrong(connection: Connection, host: str, seq: int, hash: str) -> tuple[str, int | None] | None:
    """What is wrong; and if the end of the chain is gone, with which batch it ends now."""
    row = await connection.fetchrow(_FIND, host, seq)
    if row is None:
        wrong = f"names batch {seq} of {host!r}, which has no chain: an old copy was put back"
        return (wrong, 0) if seq else None
    if row["hash"] is not None:
        same = row["hash"].hex() == hash
        return None if same else (f"names batch {seq} by another hash: the chain was written anew", None)
    if seq <= row["pruned"]:
        return None
    wrong = f"names batch {seq}, which is not there: the last rows were dropped, or an old copy was put back"
    return wrong, row["last"]
