"""Owners' accounts at the payment provider: how each stands, and whether it may be sent money.

`pending`: it is being made, or the provider looks into it, and nothing is wanted of its owner. `restricted`: something
is wanted (`due`), or the provider will not have money sent there. `enabled`: it may be sent money. `rejected`: it never
may. `deauthorised`: its owner has cut it off from us, or it is closed. Whatever it is, what an owner sells goes on
being due to them; only what is paid out waits.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from gateway.core.sign_ins import read_object

Api = Literal["v1", "v2"]
"""Which of the provider's APIs an account was made with."""
AccountStatus = Literal["pending", "restricted", "enabled", "rejected", "deauthorised"]
STATUSES: tuple[AccountStatus, ...] = get_args(AccountStatus)
WISH_PURPOSE = "stripe_accounts.wish"
"""What a wish is sealed for, each in its own row alone."""


@dataclass(frozen=True, slots=True)
class AccountWish:
    """What an account is asked for with: the same words each time, or the provider takes it for another request.

    `email` is how the provider reaches its owner; empty if that is not known.
    """

    api: Api
    country: str
    name: str
    email: str = ""

    def text(self) -> str:
        """How it is kept, before that is sealed."""
        return json.dumps({"api": self.api, "country": self.country, "name": self.name, "email": self.email})

    @classmethod
    def read(cls, text: bytes) -> "AccountWish":
        return cls(**read_object(text))


@dataclass(frozen=True, slots=True)
class Standing:
    """What the provider says of an account. `due` is what it still needs, by the provider's names."""

    account: str
    status: AccountStatus
    due: tuple[str, ...] = ()
    transfers: bool = False
    """Whether it may be sent money."""
    payouts: bool = False
    """Whether money goes on from it to its owner's bank."""
    country: str = ""


@dataclass(frozen=True, slots=True)
class OwnerAccount:
    """An owner's account, or that one is being made: then it has no `standing`.

    `key` names it for ever, also at the provider. `attempt` rises when the provider has refused to make it.
    `checked_ms` is when the provider was last asked how it stands.
    """

    owner: str
    live: bool
    api: Api
    key: str
    attempt: int
    created_ms: int
    changed_ms: int
    checked_ms: int
    standing: Standing | None = None
    sealed: tuple[str, bytes] | None = None
    """The wish, and by which key it is sealed, until the account is there."""

    @property
    def status(self) -> AccountStatus:
        return self.standing.status if self.standing is not None else "pending"

    @property
    def idempotency_key(self) -> str:
        return f"farebox-connect-{self.key}-{self.attempt}"


Reason = Literal["none", "pending", "restricted", "rejected", "deauthorised"]


@dataclass(frozen=True, slots=True)
class PayoutAccount:
    """Where what is due to an owner is sent, or the reason why that has to wait."""

    account: str | None
    reason: Reason | None


@dataclass(frozen=True, slots=True)
class Member:
    """A person who acts for an owner, and since when. `how`: `invited` or `linked`."""

    user: str
    owner: str
    how: str
    since_ms: int


def payable(configured: str | None, kept: OwnerAccount | None) -> PayoutAccount:
    """An account that the operator has set goes before one that was made."""
    if configured is not None:
        return PayoutAccount(configured, None)
    if kept is None:
        return PayoutAccount(None, "none")
    if kept.standing is None or kept.standing.status != "enabled":
        status = kept.status
        assert status != "enabled"
        return PayoutAccount(None, status)
    return PayoutAccount(kept.standing.account, None)


def told(kept: OwnerAccount | None) -> Mapping[str, Any]:
    """What anybody who may know is told of it."""
    standing = kept.standing if kept is not None else None
    return {
        "status": kept.status if kept is not None else "none",
        "account": standing.account if standing else None,
        "api": kept.api if kept else None,
        "country": standing.country if standing else None,
        "requirements": list(standing.due) if standing else [],
        "transfers_enabled": standing.transfers if standing else False,
        "payouts_enabled": standing.payouts if standing else False,
    }
