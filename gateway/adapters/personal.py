"""All that the records have of the person behind an account, with what is sealed opened; in records of either kind.

One table of data says, for each table of the records, which rows are theirs and what of them is told; a test holds it
against the migrations, so that a new table is either told of or said to be nobody's. Secrets are told of and not told:
of tokens, ours and a provider's, only that they are there.
"""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

from gateway.core.keyring import Keyring, NotOurs, UnknownKey
from gateway.core.licences import ADDRESS_PURPOSE
from gateway.core.owning import WISH_PURPOSE
from gateway.core.payers import MAIL_PURPOSE
from gateway.core.personal import ids_in, is_about
from gateway.core.sign_ins import PROFILE_PURPOSE

Ask = Callable[..., Awaitable[Sequence[Any]]]
_EVENT = "event"
"""What events are sealed for."""
_EVENTS = """SELECT id, type, created, received, status, key_id, object FROM event WHERE id > $1
ORDER BY id LIMIT $2"""
_PAGE = 500


class Sealed(NamedTuple):
    """What a row has sealed, besides `key_id`. Opened, it is told as `told`."""

    told: str
    purpose: str
    column: str = "sealed"
    is_bound: bool = False
    """To its row, by the first column."""


class Part(NamedTuple):
    """Rows of one table. `whose` is a condition, `{}` in it the accounts."""

    table: str
    columns: tuple[str, ...]
    whose: str = "account IN {}"
    sealed: Sealed | None = None


_USERS = "user_id IN (SELECT id FROM users WHERE account IN {})"
_OWNERS = f"owner IN (SELECT owner FROM owner_people WHERE {_USERS})"  # noqa: S608 -- conditions of our own
_PAID = "payment IN (SELECT payment FROM credited WHERE account IN {})"
_CUSTOMERS = "customer IN (SELECT customer FROM licensee WHERE account IN {})"
_SECRETS = "older IN (SELECT access_token_hash FROM token WHERE account IN {})"
_CONSENTS = "token_grant IN (SELECT token_grant FROM oauth_consent WHERE account IN {})"
_SUBSCRIPTIONS = "subscription IN (SELECT id FROM subscription WHERE account IN {})"
_LIFE = ("created AS created_ms", "expires AS expires_ms")
_MONEY = ("currency", "amount AS micros")

PARTS: Mapping[str, Part] = {
    "people": Part(
        "users",
        ("id", "account", "created AS created_ms", "seen AS seen_ms"),
        sealed=Sealed("profile", PROFILE_PURPOSE, "profile", is_bound=True),
    ),
    "sign_ins": Part("user_login", ("user_id", "provider", "created AS created_ms"), _USERS),
    "sessions": Part("user_session", ("grant_id", "user_id", "provider", *_LIFE), _USERS),
    "tokens_of_providers": Part("oauth_tokens", ("user_id", "provider", "expires AS expires_ms"), _USERS),
    "connections": Part("integration_status", ("user_id", "provider", "state", "checked AS checked_ms"), _USERS),
    "jobs": Part(
        "sync_jobs",
        ("id", "kind", "user_id", "provider", "state", "created AS created_ms", "progress", "error"),
        _USERS,
    ),
    "payers": Part("payer", ("account", "at AS at_ms"), sealed=Sealed("address", MAIL_PURPOSE)),
    "returns_from_checkouts": Part("homecoming", ("session", "account", "at AS at_ms", "state")),
    "licensees": Part(
        "licensee", ("customer", "account", "at AS at_seconds"), sealed=Sealed("address", ADDRESS_PURPOSE)
    ),
    "licence_codes": Part("licence_code", ("customer", "until AS until_ms"), _CUSTOMERS),
    "licence_restores": Part("licence_restore", ("customer", "at AS at_ms"), _CUSTOMERS),
    "auto_top_up": Part(
        "auto_top_up",
        ("account", "currency", "threshold", "adds", "customer", "method", "label", "expires", "paused", "wanted"),
    ),
    "charges_of_saved_cards": Part(
        "refill", ("account", "key", *_MONEY, "customer", "method", "created AS created_ms", "state")
    ),
    "orders": Part("pay_order", ("id", "account", *_MONEY, "customer", "plan", "created AS created_ms", "url")),
    "subscriptions": Part("subscription", ("id", "account", "price", "customer", "state", "ends AS ends_ms", "leaves")),
    "unpaid_invoices": Part("unpaid_invoice", ("invoice", "subscription", "url"), _SUBSCRIPTIONS),
    "payments": Part("credited", ("payment", "session", "account", "currency", "paid", "credit")),
    "refunds_and_disputes": Part(
        "notice", ("event", "payment", "kind", "about", "micros", "currency", "stands", "at AS at_seconds"), _PAID
    ),
    "taken_back": Part("move", ("payment", "number", "micros", "kind", "made"), _PAID),
    "tokens": Part(
        "token_grant",
        ("id", "account", "parent", "name", "last", *_LIFE, "revoked AS revoked_ms", "used AS used_ms", "terms"),
    ),
    "secrets_of_tokens": Part("token", ("grant_id", "account", *_LIFE, "revoked AS revoked_ms")),
    "programs_allowed": Part(
        "oauth_consent", ("token_grant", "account", "client", "resource", "scopes", "at AS at_ms")
    ),
    "tickets_of_programs": Part(
        "oauth_ticket", ("token_grant", "kind", "expires AS expires_ms", "used AS used_ms"), _CONSENTS
    ),
    "rotations_of_tokens": Part("token_rotation", ("last", "at AS at_ms", "good_until AS good_until_ms"), _SECRETS),
    "kept_answers": Part("idempotency_key", ("account", "request", "state", "expires AS expires_ms")),
    "told": Part("outgoing", ("id", "account", "type", "content", "channel", "state", "created AS created_ms")),
    "low_balance": Part("low_balance", ("account", "remains", "credited")),
    "freezes": Part("freezing", ("account", "frozen", "reason", "at AS at_ms")),
    "caps": Part("account_cap", ("account", "period", "unit", "micros", "since AS since_ms", "tell_at", "zone")),
    "aliases": Part("alias", ("account", "target", "why", "at AS at_ms")),
    "owner_of": Part("owner_people", ("user_id", "owner", "how", "since AS since_ms"), _USERS),
    "invitations_of_owners": Part(
        "owner_invite", ("owner", "until AS until_ms"), "used_by IN (SELECT id FROM users WHERE account IN {})"
    ),
    "accounts_of_owners": Part(
        "stripe_accounts",
        ("owner", "live", "account", "status", "country", "created AS created_ms"),
        _OWNERS,
        sealed=Sealed("wish", WISH_PURPOSE, "wish", is_bound=True),
    ),
    "charged_by_agreement": Part(
        "stripe_customers", ("user_id", "live", "customer", "method", "created AS created_ms"), _USERS
    ),
    "fees_charged": Part(
        "stripe_transactions",
        (
            "id",
            "live",
            "refund",
            "user_id",
            "owner",
            "currency",
            "amount AS micros",
            "fee",
            "state",
            "created AS created_ms",
        ),
        _USERS,
    ),
    "trail": Part("trail", ("number", "content"), "object IN {}"),
}
NOBODYS = {
    "event": "found by what it says, see `core/personal.py`",
    "payment_link": "everybody's",
    "oauth_client": "programs, as they describe themselves",
    "payouts": "an owner's, by the name that the configuration gives",
    "payout_hold": "an owner's, by the name that the configuration gives",
    "payout_run": "an owner's, by the name that the configuration gives",
    "payout_sent_on": "of an account at the provider, which the configuration names",
    "watermark": "the gateway's own",
    "key_holder": "the gateway's own",
    "key_use": "the gateway's own",
    "sealing_key": "the gateway's own",
    "migration": "the gateway's own",
    "migration_records": "the gateway's own",
    "sign_in_used": "digests of moments, of nobody that is known",
    "route_use": "how many calls a route had in an hour, of nobody in particular",
    "service": "programs of the platform's own",
    "reading": "numbers of a request, which the statement names",
}
_JSON, _FLAGS = {"content", "terms", "progress"}, {"wanted", "stands", "made", "frozen", "leaves", "live"}


class PersonalRecords:
    """Reads only. Every call may raise RecordsUnavailable."""

    def __init__(self, ask: Ask, keyring: Keyring) -> None:
        self._ask = ask
        self._keyring = keyring

    async def of(self, accounts: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        """By what it is, what there is of somebody with these accounts. What nobody can open any more is None."""
        told = {name: await self._part(part, accounts) for name, part in PARTS.items()}
        return told | {"events": await self._events(accounts, ids=ids_in(list(told.values())))}

    async def _part(self, part: Part, accounts: Sequence[str]) -> list[dict[str, Any]]:
        marks = f"({', '.join(f'${number}' for number in range(1, len(accounts) + 1))})"
        names = [column.rpartition(" AS ")[2] for column in part.columns]
        columns = ", ".join([*part.columns, *(("key_id", part.sealed.column) if part.sealed else ())])
        query = f"SELECT {columns} FROM {part.table} WHERE {part.whose.replace('{}', marks)} ORDER BY 1, 2"  # noqa: S608
        return [self._row(part, dict(zip(names, row, strict=False)), row) for row in await self._ask(query, *accounts)]

    def _row(self, part: Part, told: dict[str, Any], row: Sequence[Any]) -> dict[str, Any]:
        for name in _JSON & told.keys():
            told[name] = _read(told[name])
        if part.table == "trail":
            del told["content"]["actor"]  # somebody else
        for name in _FLAGS & told.keys():
            told[name] = bool(told[name])
        if part.sealed is not None:
            plain = self._opened(part.sealed.purpose, *row[-2:], about=row[0] if part.sealed.is_bound else "")
            told[part.sealed.told] = _read(plain)
        return told

    async def _events(self, accounts: Sequence[str], *, ids: set[str]) -> list[dict[str, Any]]:
        """Until another look at all of them finds no more: one names what the next is found by."""
        found: dict[str, dict[str, Any]] = {}
        known = -1
        while known != len(found):
            known, after = len(found), ""
            while page := await self._ask(_EVENTS, after, _PAGE):
                after = page[-1][0]
                for id, type, created, received, status, key_id, sealed in page:
                    content = None if id in found else _read(self._opened(_EVENT, key_id, sealed))
                    if content and is_about(content, ids=ids, accounts=accounts, keyring=self._keyring):
                        ids |= ids_in(content)
                        times = {"created_seconds": created, "received_ms": received}
                        found[id] = {"id": id, "type": type, **times, "status": status, "object": content}
        return [found[id] for id in sorted(found)]

    def _opened(self, purpose: str, key_id: str | None, sealed: bytes | None, *, about: str = "") -> str | None:
        if key_id is None or sealed is None:
            return None
        try:
            return self._keyring.open(purpose, key_id, sealed, about=about).decode()
        except (NotOurs, UnknownKey):
            return None


def _read(text: str | None) -> Any:
    """What was written as JSON, or as it is."""
    try:
        return None if text is None else json.loads(text)
    except ValueError:
        return text
