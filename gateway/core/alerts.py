"""What an operator is alerted of: every alert by name, how bad it is, and the words it is told in.

An alert is about one thing: the whole gateway (an empty subject), a host, an account, a customer at the provider. It is
open while what it says is true, and one is open for each name and subject. It says numbers and ids; nothing personal.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from gateway.core.letters import Letter
from gateway.core.limits import Rate
from gateway.core.outgoing import Outgoing

Name = Literal[
    "webhook_signatures",
    "books_imbalance",
    "payment_parked",
    "dispute_rate",
    "account_spend",
    "unpaid_surge",
    "errors_surge",
    "payment_velocity",
    "account_payments",
    "cards_refused",
    "refunds_surge",
    "reconciler_behind",
    "jobs_failed",
    "outbox_behind",
    "ledger_stuck",
    "disk_low",
    "keys_stale",
    "guessed_tokens",
    "licence_devices",
    "duplicate_subscriptions",
    "payouts_differ",
]
NAMES: tuple[Name, ...] = get_args(Name)
Severity = Literal["page", "ticket"]
PREFIX = "alert."
TEST = "alert.test"
"""The type of a message that only shows that messages arrive."""

WORDS: Mapping[Name, tuple[Severity, str]] = {
    "webhook_signatures": ("page", "Webhooks with wrong signatures came: a secret that is not known here, or forgery."),
    "books_imbalance": ("page", "An audit of the books found something."),
    "payment_parked": ("page", "An event was parked: a payment may have reached no account."),
    "dispute_rate": ("page", "Too many payments are disputed."),
    "account_spend": ("page", "An account spends as it never did."),
    "unpaid_surge": ("ticket", "Many more requests than usual are refused as unpaid."),
    "errors_surge": ("page", "Many more requests than usual are answered 5xx."),
    "payment_velocity": ("ticket", "Many more payments than usual come in."),
    "account_payments": ("ticket", "An account pays again and again."),
    "cards_refused": ("page", "Banks refuse many cards: somebody may be testing stolen ones."),
    "refunds_surge": ("ticket", "Many more payments than usual are given back."),
    "reconciler_behind": ("ticket", "The provider's events were not compared for too long."),
    "jobs_failed": ("ticket", "Jobs in the background were given up."),
    "outbox_behind": ("ticket", "Notices or letters wait too long, or were given up."),
    "ledger_stuck": ("page", "The ledger cannot commit: paid routes answer 503."),
    "disk_low": ("page", "The disk of the store, or of the logs, is nearly full."),
    "keys_stale": ("ticket", "A certificate ends soon, or an issuer's keys cannot be fetched."),
    "guessed_tokens": ("ticket", "Many credentials that are not good are shown."),
    "licence_devices": ("ticket", "One licence is brought to many devices."),
    "duplicate_subscriptions": ("ticket", "An account pays for the same plan more than once."),
    "payouts_differ": ("page", "What came back of payouts is not in the books."),
}


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From when on something is wrong. Rates are so many in so long; times are milliseconds, shares basis points."""

    webhook_signatures: Rate
    guessed_tokens: Rate
    cards_refused: Rate
    refunds: Rate
    dispute_bps: int
    disputes_least: int
    surge_least: int
    surge_factor: float
    payments_least: int
    account_payments: Rate
    spend_least: int
    """What an account must spend in an hour for anything to be said of it, in micros."""
    spend_factor: float
    outbox_ms: int
    returned_ms: int
    reconciled_ms: int
    devices: int
    disk_bytes: int
    certificate_days: int
    unwatched: Collection[Name] = ()


@dataclass(frozen=True, slots=True)
class Sign:
    """What was seen just now. `facts` are numbers and ids. It is taken to hold for `holds_ms` more."""

    name: Name
    subject: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    holds_ms: int = 0


@dataclass(frozen=True, slots=True)
class Alert:
    """One that is open, or was; times are milliseconds since 1970."""

    id: str
    name: Name
    subject: str
    severity: Severity
    facts: Mapping[str, Any]
    opened_ms: int
    seen_ms: int
    ended_ms: int | None
    told: int
    """How often it was told of."""
    told_ms: int
    acked_ms: int | None

    @property
    def words(self) -> str:
        return WORDS[self.name][1]


def letter(message: Outgoing) -> Letter:
    """A message about an alert as a letter to an operator."""
    content = message.content
    if message.type == TEST:
        return Letter(message.id, "[gateway] A test of alerts", "This is a test. Nothing is wrong.\n", None)
    name, step = content["name"], message.type.removeprefix(PREFIX)
    about = f" ({content['subject']})" if content["subject"] else ""
    facts = "".join(f"{fact}: {value}\n" for fact, value in content["facts"].items())
    text = (
        f"{WORDS[name][1] if name in WORDS else name}\n\nalert: {name}{about}\nid: {content['alert']}\n{facts}\n"
        f"What to do: README, `{name}`; `gateway alerts ack {content['alert']}` ends the reminders.\n"
    )
    return Letter(message.id, f"[gateway] {step}: {name}{about}", text, None)
