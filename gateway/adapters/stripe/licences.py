"""Subscribers of licences at Stripe: how they are looked for, and how sessions, customers and their events are read.

Stripe's list of customers compares addresses as they are written, capitals and all
(https://docs.stripe.com/api/customers/list); its search does not, and lags by up to a minute
(https://docs.stripe.com/search#data-freshness). So both are asked, the list first.
"""

from collections.abc import Mapping
from typing import Any, Final

from gateway.adapters.stripe.subscriptions import REFERENCE, standing
from gateway.core.licences import MARK, Arrival, Customer
from gateway.core.payments import Event
from gateway.core.plans import SubscriptionNotice

_COMPLETED: Final = "checkout.session.completed"
TYPES: Final = frozenset(("customer.updated",))
"""The events that say something, besides those of subscriptions and checkouts."""


def arrival(event: Event) -> Arrival | None:
    """The checkout that began a licence, if an event tells of one."""
    return arrival_of(event.object, at=event.created) if event.type == _COMPLETED else None


def arrival_of(session: Mapping[str, Any], *, at: int, looked_up: bool = False) -> Arrival | None:
    """The same of a session as it is; its subscription may be there in full. Raises ValueError.

    One that is `looked_up` says how its subscription stands by then, and its customer's address when it was made.
    """
    if session.get("mode") != "subscription" or session.get("status") != "complete" or not is_marked(session):
        return None
    customer, live = session.get("customer"), session.get("livemode")
    email = _mapping(session.get("customer_details")).get("email")
    if not (isinstance(customer, str) and isinstance(live, bool) and isinstance(email, str)):
        raise ValueError("the session has no customer, mode or address")
    reference, about = session.get("client_reference_id"), session.get("subscription")
    notice = notice_of(about, at=at, live=live) if isinstance(about, Mapping) else None
    made = session.get("created")
    since = made if looked_up and isinstance(made, int) else at
    return Arrival(Customer(customer, email, since, live), reference if isinstance(reference, str) else None, notice)


def customer(event: Event) -> Customer | None:
    """What an event says of a customer, if it does. Raises ValueError."""
    return customer_of(event.object, at=event.created) if event.type in TYPES else None


def customer_of(about: Mapping[str, Any], *, at: int) -> Customer:
    """Raises ValueError."""
    id, live, email = about.get("id"), about.get("livemode"), about.get("email")
    if not (isinstance(id, str) and isinstance(live, bool)):
        raise ValueError("the customer has no id or mode")
    return Customer(id, email if isinstance(email, str) and email else None, at, live)


def notice_of(subscription: Mapping[str, Any], *, at: int, live: bool) -> SubscriptionNotice:
    """How a subscription stands at this moment, as an event of it would say. Raises ValueError."""
    found = standing(Event("", "", live, at, subscription))
    reference = _mapping(subscription.get("metadata")).get(REFERENCE)
    return SubscriptionNotice(live, reference if isinstance(reference, str) else None, found)


def is_marked(about: Mapping[str, Any]) -> bool:
    """Whether a session or subscription was begun as a licence."""
    return _mapping(about.get("metadata")).get(MARK) == "own"


def search_for(email: str) -> str:
    """In the language of Stripe's search. An address of ours holds no quote and no backslash."""
    return f'email:"{email}"'


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
