"""What the records have of people: one table of data, which export and erasure both go by.

For each table it says which rows are somebody's, what of them is told, and what becomes of them when that person is
erased. There is no part without an answer to each: it is a field without a default. A test holds the tables against
the migrations, so that a new one is either here or said to be nobody's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from gateway.core.licences import ADDRESS_PURPOSE
from gateway.core.owning import WISH_PURPOSE
from gateway.core.payers import MAIL_PURPOSE
from gateway.core.sign_ins import PROFILE_PURPOSE


@dataclass(frozen=True, slots=True)
class Dropped:
    """The rows go."""


@dataclass(frozen=True, slots=True)
class Blanked:
    """The rows stay, for what is said in `why`; these columns get these values, written as SQL."""

    why: str
    columns: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Kept:
    """The rows stay as they are: nothing of them is anybody's name, address, card or words."""

    why: str


Erased: TypeAlias = Dropped | Blanked | Kept


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
    erased: Erased
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

_LAW = "amounts, moments and ids of payments: books must be kept, and a refund or dispute may still come"
_REFUSED = "so that the token is refused for good; of it there is a keyed digest"

PARTS: Mapping[str, Part] = {
    "people": Part(
        "users",
        ("id", "account", "created AS created_ms", "seen AS seen_ms"),
        Dropped(),
        sealed=Sealed("profile", PROFILE_PURPOSE, "profile", is_bound=True),
    ),
    "sign_ins": Part("user_login", ("user_id", "provider", "created AS created_ms"), Dropped(), _USERS),
    "wallets_taken": Part(
        "wallet_claim", ("account", "user_id", "at AS at_ms"), Dropped(), f"account IN {{}} OR {_USERS}"
    ),
    "sessions": Part("user_session", ("grant_id", "user_id", "provider", *_LIFE), Dropped(), _USERS),
    "tokens_of_providers": Part("oauth_tokens", ("user_id", "provider", "expires AS expires_ms"), Dropped(), _USERS),
    "connections": Part(
        "integration_status", ("user_id", "provider", "state", "checked AS checked_ms"), Dropped(), _USERS
    ),
    "jobs": Part(
        "sync_jobs",
        ("id", "kind", "user_id", "provider", "state", "created AS created_ms", "progress", "error"),
        Dropped(),
        _USERS,
    ),
    "payers": Part("payer", ("account", "at AS at_ms"), Dropped(), sealed=Sealed("address", MAIL_PURPOSE)),
    "returns_from_checkouts": Part(
        "homecoming",
        ("session", "account", "at AS at_ms", "state"),
        Blanked(
            "so that nobody else comes back from the same checkout",
            {"browser": "CAST('' AS {blob})", "state": "'nobody'", "key_id": "NULL", "sealed": "NULL"},
        ),
    ),
    "licensees": Part(
        "licensee", ("customer", "account", "at AS at_seconds"), Dropped(), sealed=Sealed("address", ADDRESS_PURPOSE)
    ),
    "licence_codes": Part("licence_code", ("customer", "until AS until_ms"), Dropped(), _CUSTOMERS),
    "licence_restores": Part("licence_restore", ("customer", "at AS at_ms"), Dropped(), _CUSTOMERS),
    "auto_top_up": Part(
        "auto_top_up",
        ("account", "currency", "threshold", "adds", "customer", "method", "label", "expires", "paused", "wanted"),
        Blanked(
            "so that every process hears that it is off",
            {
                **dict.fromkeys(("customer", "method", "label", "expires", "paused"), "NULL"),
                "wanted": "{no}",
                "changed": "{now}",
            },
        ),
    ),
    "charges_of_saved_cards": Part(
        "refill",
        ("account", "key", *_MONEY, "customer", "method", "created AS created_ms", "state"),
        Blanked(_LAW, {"method": "''"}),
    ),
    "orders": Part(
        "pay_order", ("id", "account", *_MONEY, "customer", "plan", "created AS created_ms", "url"), Dropped()
    ),
    "subscriptions": Part(
        "subscription", ("id", "account", "price", "customer", "state", "ends AS ends_ms", "leaves"), Kept(_LAW)
    ),
    "unpaid_invoices": Part("unpaid_invoice", ("invoice", "subscription", "url"), Dropped(), _SUBSCRIPTIONS),
    "payments": Part(
        "credited", ("payment", "session", "account", "currency", "paid", "credit", "at AS at_ms"), Kept(_LAW)
    ),
    "refunds_and_disputes": Part(
        "notice",
        ("event", "payment", "kind", "about", "micros", "currency", "stands", "at AS at_seconds"),
        Kept(_LAW),
        _PAID,
    ),
    "taken_back": Part("move", ("payment", "number", "micros", "kind", "made"), Kept(_LAW), _PAID),
    "tokens": Part(
        "token_grant",
        ("id", "account", "parent", "name", "last", *_LIFE, "revoked AS revoked_ms", "used AS used_ms", "terms"),
        Blanked(_REFUSED, {"name": "''", "last": "''", "terms": "NULL", "used": "NULL"}),
    ),
    "secrets_of_tokens": Part("token", ("grant_id", "account", *_LIFE, "revoked AS revoked_ms"), Kept(_REFUSED)),
    "programs_allowed": Part(
        "oauth_consent", ("token_grant", "account", "client", "resource", "scopes", "at AS at_ms"), Dropped()
    ),
    "tickets_of_programs": Part(
        "oauth_ticket", ("token_grant", "kind", "expires AS expires_ms", "used AS used_ms"), Dropped(), _CONSENTS
    ),
    "rotations_of_tokens": Part(
        "token_rotation", ("last", "at AS at_ms", "good_until AS good_until_ms"), Dropped(), _SECRETS
    ),
    "kept_answers": Part("idempotency_key", ("account", "request", "state", "expires AS expires_ms"), Dropped()),
    "told": Part(
        "outgoing", ("id", "account", "type", "content", "channel", "state", "created AS created_ms"), Dropped()
    ),
    "low_balance": Part("low_balance", ("account", "remains", "credited"), Dropped()),
    "alerts": Part(
        "alert",
        ("id", "name", "subject", "facts", "opened AS opened_ms", "ended AS ended_ms"),
        Dropped(),
        "subject IN {}",
    ),
    "spending_by_hour": Part("alert_spend", ("account", "hour", "micros"), Dropped()),
    "usual_spending": Part("alert_habit", ("account", "state", "changed AS changed_ms"), Dropped()),
    "freezes": Part(
        "freezing",
        ("account", "frozen", "reason", "at AS at_ms"),
        Blanked("so that the account spends nothing any more", {"reason": "'erased'"}),
    ),
    "ended_tokens": Part("ended_token", ("account", "before AS before_ms"), Kept(_REFUSED)),
    "caps": Part(
        "account_cap",
        ("account", "period", "unit", "micros", "since AS since_ms", "tell_at", "zone"),
        Blanked("the last of them counts, for every process", {"zone": "NULL"}),
    ),
    "aliases": Part(
        "alias",
        ("account", "target", "why", "at AS at_ms"),
        Blanked("a payment for the older account may still come", {"why": "'erased'"}),
    ),
    "owner_of": Part("owner_people", ("user_id", "owner", "how", "since AS since_ms"), Dropped(), _USERS),
    "invitations_of_owners": Part(
        "owner_invite",
        ("owner", "until AS until_ms"),
        Dropped(),
        "used_by IN (SELECT id FROM users WHERE account IN {})",
    ),
    "accounts_of_owners": Part(
        "stripe_accounts",
        ("owner", "live", "account", "status", "country", "created AS created_ms"),
        Blanked("who was paid out, and into which account at the provider", {"key_id": "NULL", "wish": "NULL"}),
        _OWNERS,
        sealed=Sealed("wish", WISH_PURPOSE, "wish", is_bound=True),
    ),
    "charged_by_agreement": Part(
        "stripe_customers",
        ("user_id", "live", "customer", "method", "created AS created_ms"),
        Blanked(
            "whom the provider knows, by its ids; without a method nothing is charged",
            {"method": "NULL", "setup": "NULL"},
        ),
        _USERS,
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
        Blanked(_LAW, {"method": "''"}),
        _USERS,
    ),
    "trail": Part(
        "trail",
        ("number", "content"),
        Kept("a chain that nobody can change; it names ids, and what operators gave as reasons"),
        "object IN {}",
    ),
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
    "shared_key": "the gateway's own",
    "migration": "the gateway's own",
    "migration_records": "the gateway's own",
    "sign_in_used": "digests of moments, of nobody that is known",
    "alert_mute": "names of alerts",
    "alert_count": "how many there were of something, of nobody in particular",
    "alert_watch": "the gateway's own",
    "route_use": "how many calls a route had in an hour, of nobody in particular",
    "service": "programs of the platform's own",
    "operator_session": "operators', by the name that they sign the trail with; gone within a day",
    "operator_link": "random numbers of links that operators used",
    "reading": "numbers of a request, which the statement names",
}
