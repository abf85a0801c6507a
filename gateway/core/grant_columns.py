"""How a grant stands in a table: its columns, in one order for every database."""

from collections.abc import Sequence
from typing import Any

from gateway.core.grants import ANYTHING, Grant, Terms

COLUMNS = "id, account, created, parent, name, last, expires, revoked, used, terms"


def of_grant(grant: Grant) -> tuple[object, ...]:
    """The values of its columns."""
    return (
        grant.id,
        grant.account,
        grant.created_ms,
        grant.parent,
        grant.name,
        grant.last,
        grant.expires_ms,
        grant.revoked_ms,
        grant.used_ms,
        terms_text(grant.terms),
    )


def grant_of(row: Sequence[Any]) -> Grant:
    """What `of_grant` was given."""
    values = [*row]
    values[-1] = ANYTHING if values[-1] is None else Terms.read(values[-1])
    return Grant(*values)


def terms_text(terms: Terms) -> str | None:
    """How terms are kept; None for those of a token that may do everything."""
    return None if terms == ANYTHING else terms.text()
