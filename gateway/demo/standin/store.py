"""What the stand-in remembers, and what every verb of it needs at hand.

Objects live in memory as the JSON that the API answers with, one shelf per kind, oldest first. A shelf has a
limit: beyond it the oldest object is forgotten, so that a stand-in that runs for weeks stays small. Nothing here
awaits: a verb runs from its first line to its last without another in between, which is why a session cannot be
paid twice.

`World` bundles the shelves with the clock, the source of ids and the bell that is rung for every event. It knows
who caused what is happening (an API request, or a buyer on the hosted page), because events say so.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeAlias

from gateway.demo.standin.errors import ApiError, no_such

Json: TypeAlias = dict[str, Any]

#: The API version whose shapes are played: the one that the supported SDK pins.
API_VERSION = "2026-10-28.endive"

KINDS = (
    "product",
    "price",
    "payment_link",
    "checkout.session",
    "payment_intent",
    "setup_intent",
    "charge",
    "customer",
    "payment_method",
    "refund",
    "billing_portal.session",
    "subscription",
    "invoice",
    "invoice_payment",
    "dispute",
    "radar.early_fraud_warning",
    "transfer",
    "transfer_reversal",
    "balance_transaction",
    "event",
    "v2.core.event",
)


class Shelf:
    """The objects of one kind by id, in the order in which they were made."""

    def __init__(self, kind: str, objects_max: int) -> None:
        self.kind = kind
        self.objects_max = objects_max
        self._objects: dict[str, Json] = {}

    def __len__(self) -> int:
        return len(self._objects)

    def __iter__(self) -> Iterator[Json]:
        return iter(self._objects.values())

    def newest(self) -> Iterator[Json]:
        return reversed(self._objects.values())

    def get(self, id: str) -> Json | None:
        return self._objects.get(id)

    def remove(self, id: str) -> None:
        self._objects.pop(id, None)

    def put(self, item: Json) -> list[Json]:
        """Keep an object. Returns those that had to go for it."""
        self._objects[item["id"]] = item
        gone = []
        while len(self._objects) > self.objects_max:
            oldest = next(iter(self._objects))
            gone.append(self._objects.pop(oldest))
        return gone


@dataclass(frozen=True, slots=True)
class Movement:
    """Money that really moved, as far as the stand-in is concerned: the truth to compare a ledger with."""

    kind: str
    amount: int
    currency: str
    session: str
    payment_intent: str
    charge: str
    client_reference_id: str | None
    method: str
    at: int
    source: str = ""
    """Of what is no payment: the transfer, or what came back of one."""


#: What a movement is called among the balance's transactions, and how it is reported.
_LINES: dict[str, tuple[str, str]] = {
    "payment": ("charge", "charge"),
    "refund": ("refund", "refund"),
    "refund failed": ("refund_failure", "refund_failure"),
    "dispute": ("adjustment", "dispute"),
    "dispute won": ("adjustment", "dispute_reversal"),
    "transfer": ("transfer", "transfer"),
    "transfer reversal": ("transfer_refund", "transfer_reversal"),
}
DISPUTE_FEE = 1500


@dataclass(slots=True)
class Connected:
    """An account of somebody else, which this one has made. `due` are requirements by number, see `connect.py`."""

    id: str
    api: str
    country: str
    email: str | None
    name: str | None
    metadata: dict[str, str]
    created: int
    due: list[int]
    transfers: bool = False
    """Whether it was asked that it may be sent money."""
    submitted: bool = False
    verifying: bool = False
    rejected: bool = False
    closed: bool = False
    deauthorised: bool = False


@dataclass(slots=True)
class World:
    """Shelves, clock, ids and bell."""

    now: Callable[[], float]
    token: Callable[[int], str]
    ring: Callable[[Json], None]
    objects_max: int
    events_max: int
    api_version: str = API_VERSION
    origin: str = ""
    shelves: dict[str, Shelf] = field(init=False)
    #: Line items by the link or session they belong to.
    items: dict[str, list[Json]] = field(init=False, default_factory=dict)
    #: What the query of a payment link asked the page to fill in, by session.
    prefilled: dict[str, dict[str, str]] = field(init=False, default_factory=dict)
    #: The number of the test card behind a payment method: it decides what becomes of later payments.
    numbers: dict[str, str] = field(init=False, default_factory=dict)
    #: What a session hands on to its payment intent.
    intent_data: dict[str, Json] = field(init=False, default_factory=dict)
    #: Who opened the checkout of a subscription: the reference that it came with.
    subscribers: dict[str, str | None] = field(init=False, default_factory=dict)
    #: How far the clock of subscriptions is ahead of the other.
    ahead: int = field(init=False, default=0)
    #: What the next invoice of a subscription asks for besides: item, amount and whether it is a part of a period.
    pending: dict[str, list[tuple[Json, int, bool]]] = field(init=False, default_factory=dict)
    #: All lines of each invoice.
    lines: dict[str, list[Json]] = field(init=False, default_factory=dict)
    #: What a coupon takes off the invoices of subscriptions.
    off_percent: int = field(init=False, default=0)
    #: When sessions are due to expire: a heap of times and ids.
    due: list[tuple[int, str]] = field(init=False, default_factory=list)
    journal: list[Movement] = field(init=False, default_factory=list)
    #: The accounts that this one has made for others, by id, oldest first.
    connected: dict[str, Connected] = field(init=False, default_factory=dict)
    #: Where each of their links leads, by what its address ends with.
    account_links: dict[str, Json] = field(init=False, default_factory=dict)
    #: Whether this account may make accounts for others.
    connects: bool = field(init=False, default=True)
    #: What is there by currency, after fees.
    balance: dict[str, int] = field(init=False, default_factory=dict)
    #: The accounts that money can be sent to, and whether it can just now.
    destinations: dict[str, bool] = field(init=False, default_factory=dict)
    #: What is kept of each payment: hundredths of a percent, and so much besides.
    fees: tuple[int, int] = field(init=False, default=(0, 0))
    cause: tuple[str | None, str | None] = field(init=False, default=(None, None))
    #: What the API call that is running has made so far; None outside of one.
    _made: list[Json] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        most = {"event": self.events_max, "v2.core.event": self.events_max}
        self.shelves = {kind: Shelf(kind, most.get(kind, self.objects_max)) for kind in KINDS}

    def seconds(self) -> int:
        return int(self.now())

    def id(self, prefix: str, length: int = 24) -> str:
        return f"{prefix}_{self.token(length)}"

    def shelf(self, kind: str) -> Shelf:
        return self.shelves[kind]

    def get(self, kind: str, id: str, param: str = "id", status: int = 404) -> Json:
        """The object itself, to be changed in place. Raises `ApiError` when there is none."""
        found = self.shelves[kind].get(id)
        if found is None:
            raise no_such(kind, id[:100], param, status)
        return found

    def keep(self, item: Json) -> Json:
        if self._made is not None:
            self._made.append(item)
        for gone in self.shelves[item["object"]].put(item):
            self.items.pop(gone["id"], None)
            self.prefilled.pop(gone["id"], None)
            self.intent_data.pop(gone["id"], None)
            self.numbers.pop(gone["id"], None)
        return item

    def forget(self, item: Json) -> None:
        self.shelves[item["object"]].remove(item["id"])

    def record(self, movement: Movement) -> str:
        """Money moved: it is in the journal, in the balance, and a line of it. Returns the line's id."""
        self.journal.append(movement)
        if len(self.journal) > self.objects_max:
            del self.journal[0]
        fee = {"dispute": DISPUTE_FEE, "dispute won": -DISPUTE_FEE}.get(movement.kind, 0)
        if movement.kind == "payment":
            fee = movement.amount * self.fees[0] // 10_000 + self.fees[1]
        type, category = _LINES[movement.kind]
        line = self.keep(
            {
                "id": self.id("txn"),
                "object": "balance_transaction",
                "amount": movement.amount,
                "available_on": movement.at,
                "balance_type": "payments",
                "created": movement.at,
                "currency": movement.currency,
                "description": None,
                "exchange_rate": None,
                "fee": fee,
                "fee_details": [],
                "net": movement.amount - fee,
                "reporting_category": category,
                "source": movement.source or movement.charge,
                "status": "available",
                "type": type,
            }
        )
        self.balance[movement.currency] = self.balance.get(movement.currency, 0) + movement.amount - fee
        return str(line["id"])

    @contextmanager
    def caused_by(self, request: str | None, idempotency_key: str | None) -> Iterator[None]:
        """Run one API call: all of it happens, or, when it ends in an `ApiError`, nothing that it made remains.

        But for a payment that was declined: that happened, and is told.
        """
        self.cause, self._made = (request, idempotency_key), []
        try:
            yield
        except ApiError as error:
            if error.about is None:
                for item in self._made:
                    self.forget(item)
                self._made.clear()
            raise
        finally:
            made, self._made, self.cause = self._made, None, (None, None)
            for item in made:
                if item["object"] in ("event", "v2.core.event"):
                    self.ring(item)

    def emit(self, type: str, about: Json, **extra: Any) -> None:
        """Write an event down, with the object as it is at this moment, and ring the bell."""
        self._announce(self._event(type, {"object": copy.deepcopy(about), **extra}))

    def emit_of(self, account: str, type: str, about: Json) -> None:
        """The same of what happened in a connected account."""
        self._announce({**self._event(type, {"object": copy.deepcopy(about)}), "account": account})

    def emit_thin(self, type: str, about: Json) -> None:
        """An event of the second API: it says where to look, and nothing of what is there."""
        at = datetime.fromtimestamp(self.now(), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        event: Json = {
            "id": self.id("evt_test"),
            "object": "v2.core.event",
            "changes": None,
            "context": None,
            "created": at,
            "livemode": False,
            "pending_webhooks": 0,
            "reason": None,
            "related_object": about,
            "type": type,
        }
        self._announce(event)

    def _event(self, type: str, data: Json) -> Json:
        return {
            "id": self.id("evt"),
            "object": "event",
            "api_version": self.api_version,
            "created": self.seconds(),
            "data": data,
            "livemode": False,
            "pending_webhooks": 0,
            "request": {"id": self.cause[0], "idempotency_key": self.cause[1]},
            "type": type,
        }

    def _announce(self, event: Json) -> None:
        self.keep(event)
        if self._made is None:
            self.ring(event)
