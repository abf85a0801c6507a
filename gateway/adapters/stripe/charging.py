"""Stripe charges saved methods by agreement: what is asked for, and how its answers and events are read.

A charge is one payment intent, made without being confirmed and then confirmed as often as it takes: Stripe takes money
for one intent once, so no repetition, and no key that Stripe has forgotten by then, can charge twice. Where the bank
wants the person, the same intent is confirmed with them present, and Stripe names the page that the bank wants.

https://docs.stripe.com/payments/save-and-reuse and https://docs.stripe.com/api/payment_intents/confirm
"""

from collections.abc import Mapping
from typing import Any, Final

from gateway.adapters.stripe.cards import mapping
from gateway.adapters.stripe.payments import StripePayments
from gateway.core.charges import Agreed, Charge, Outcome
from gateway.core.money import Money, from_minor, to_minor
from gateway.core.payments import Event
from gateway.core.refusals import PaymentServiceUnavailable
from gateway.ports import ChargeRefused, IntentNotice, MethodNotice, SetUp

CHARGE: Final = "farebox_charge"
"""In the metadata of a payment intent: which charge it is of."""
USER: Final = "farebox_user"
_METHODS: Final = ["card", "link"]  # what can be charged later without the person, and says at once whether it was
_PAGE: Final = 100
_CODE_CHARS_MAX: Final = 40
TYPES: Final = frozenset(
    (
        "payment_intent.succeeded",
        "payment_intent.payment_failed",
        "setup_intent.succeeded",
        "payment_method.detached",
        "payment_method.automatically_updated",
    )
)
"""The events that say something of these."""
_OPEN = ("requires_payment_method", "requires_confirmation", "requires_action")


class StripeCharges:
    """Implements `ports.ChargesByAgreement`."""

    def __init__(self, payments: StripePayments, *, return_url: str, currency: str) -> None:
        self._payments = payments
        self._return_url = return_url
        self._currency = currency

    # --- saving a method ----------------------------------------------------------------------------------------------

    async def customer(self, agreed: Agreed) -> str:
        asked: Any = {"description": f"Farebox {agreed.user}", "metadata": {USER: agreed.key}}
        key: Any = {"idempotency_key": f"farebox-customer-{agreed.key}"}
        made = await self._payments.ask(lambda stripe: stripe.v1.customers.create_async(asked, key))
        return str(_there(made).id)

    async def set_up(self, agreed: Agreed) -> SetUp:
        asked: Any = {
            "customer": agreed.customer,
            "usage": "off_session",
            "allowed_payment_method_types": _METHODS,
            "metadata": {USER: agreed.key},
        }
        key: Any = {"idempotency_key": f"farebox-setup-{agreed.key}-{agreed.setups}"}
        made = await self._payments.ask(lambda stripe: stripe.v1.setup_intents.create_async(asked, key))
        return _set_up(_there(made).to_dict())

    async def find_set_up(self, id: str) -> SetUp:
        found = await self._payments.ask(lambda stripe: stripe.v1.setup_intents.retrieve_async(id))
        return SetUp(id, "", "gone") if found is None else _set_up(found.to_dict())

    async def set_up_page(self, agreed: Agreed, back: str) -> str:
        asked: Any = {
            "mode": "setup",
            "customer": agreed.customer,
            "allowed_payment_method_types": _METHODS,
            "currency": self._currency,
            "success_url": back,
            "cancel_url": back,
        }
        made = await self._payments.ask(lambda stripe: stripe.v1.checkout.sessions.create_async(asked))
        return str(_there(made).url)

    # --- charging -----------------------------------------------------------------------------------------------------

    async def intent(self, charge: Charge, *, again: bool) -> str:
        if again and (found := await self._find(charge)) is not None:
            return found
        asked: Any = intent_of(charge)
        key: Any = {"idempotency_key": f"farebox-charge-{charge.id}"}
        try:
            made = await self._payments.ask(lambda stripe: stripe.v1.payment_intents.create_async(asked, key))
        except PaymentServiceUnavailable as unavailable:
            error = unavailable.__cause__
            if _is_refusal(error):
                raise ChargeRefused(str(getattr(error, "code", None) or "refused")[:_CODE_CHARS_MAX]) from error
            raise
        if made is None:
            raise ChargeRefused("resource_missing")  # its customer was deleted
        return str(made.id)

    async def _find(self, charge: Charge) -> str | None:
        more: Mapping[str, str] = {}
        while True:
            asked: Any = {
                "customer": charge.customer,
                "created": {"gte": charge.created_ms // 1000 - 60},
                "limit": _PAGE,
                **more,
            }
            page = _there(
                await self._payments.ask(lambda stripe: stripe.v1.payment_intents.list_async(asked))  # noqa: B023
            )
            for item in page.data:
                if mapping(item.to_dict().get("metadata")).get(CHARGE) == charge.id:
                    return str(item.id)
            if not page.has_more or not page.data:
                return None
            more = {"starting_after": page.data[-1].id}

    async def confirm(self, charge: Charge) -> Outcome:
        asked: Any = {"payment_method": charge.method, "off_session": True, "return_url": self._return_url}
        key: Any = {"idempotency_key": f"farebox-charge-{charge.id}-{charge.tries}"}
        return await self._confirmed(charge, asked, key)

    async def confirm_page(self, charge: Charge, back: str) -> Outcome:
        return await self._confirmed(charge, {"payment_method": charge.method, "return_url": back}, {})

    async def _confirmed(self, charge: Charge, asked: Any, key: Any) -> Outcome:
        import stripe

        assert charge.intent is not None
        id = charge.intent
        try:
            made = await self._payments.ask(lambda client: client.v1.payment_intents.confirm_async(id, asked, key))
        except PaymentServiceUnavailable as unavailable:
            # What is certain is told; that somebody else holds the key, or the network, leaves it open.
            error = unavailable.__cause__
            if isinstance(error, stripe.CardError):
                return failure(mapping(mapping(error.json_body).get("error")))
            if isinstance(error, stripe.InvalidRequestError):
                stands = await self.look(id)  # it may be paid already, by somebody who was faster
                return stands or Outcome("given up", str(error.code or "invalid_request")[:_CODE_CHARS_MAX])
            raise
        return Outcome("given up", "resource_missing") if made is None else outcome_of(made.to_dict()) or _UNKNOWN

    async def look(self, intent: str) -> Outcome | None:
        found = await self._payments.ask(lambda stripe: stripe.v1.payment_intents.retrieve_async(intent))
        return None if found is None else outcome_of(found.to_dict())

    async def cancel(self, intent: str) -> Outcome:
        asked: Any = {"cancellation_reason": "abandoned"}
        try:
            made = await self._payments.ask(lambda stripe: stripe.v1.payment_intents.cancel_async(intent, asked))
        except PaymentServiceUnavailable as unavailable:
            stands = await self.look(intent) if _is_refusal(unavailable.__cause__) else None
            if stands is None or stands not in (Outcome("succeeded"), _CANCELED):
                raise
            return stands
        return _CANCELED if made is None else outcome_of(made.to_dict()) or _UNKNOWN

    # --- what Stripe tells us -----------------------------------------------------------------------------------------

    def intent_notice(self, event: Event) -> IntentNotice | None:
        about = event.object
        charge, id = mapping(about.get("metadata")).get(CHARGE), about.get("id")
        if event.account or not event.type.startswith("payment_intent.") or not isinstance(charge, str):
            return None
        outcome = outcome_of(about) if event.type in TYPES else None
        return IntentNotice(charge, str(id)[:255], outcome) if outcome is not None else None

    def dispute_fee(self, event: Event) -> Money | None:
        lines = event.object.get("balance_transactions")
        if not event.type.startswith("charge.dispute.") or not isinstance(lines, list) or not lines:
            return None
        fees = [fee for line in lines if isinstance(fee := mapping(line).get("fee"), int)]
        if mapping(lines[0]).get("currency") != self._currency or len(fees) < len(lines):
            return None
        return from_minor(max(0, sum(fees)), self._currency)

    def method_notice(self, event: Event) -> MethodNotice | None:
        about = event.object
        if event.account:
            return None
        id, customer, method = (about.get(name) for name in ("id", "customer", "payment_method"))
        if event.type == "setup_intent.succeeded" and isinstance(customer, str) and isinstance(method, str):
            return MethodNotice("saved", method[:255], customer[:255])
        if event.type == "payment_method.detached" and isinstance(id, str):
            return MethodNotice("gone", id[:255])
        if event.type == "payment_method.automatically_updated" and isinstance(id, str):
            return MethodNotice("renewed", id[:255])
        return None


_UNKNOWN = Outcome("processing", "unknown")
_CANCELED = Outcome("given up", "canceled")


def intent_of(charge: Charge) -> dict[str, Any]:
    """What Stripe is asked for."""
    return {
        "amount": to_minor(charge.fee),
        "currency": charge.fee.currency,
        "customer": charge.customer,
        "allowed_payment_method_types": _METHODS,
        "description": f"Fee of refund {charge.refund}",
        "metadata": {CHARGE: charge.id},
    }


def outcome_of(intent: Mapping[str, Any]) -> Outcome | None:
    """How a payment intent stands; None if nothing was tried yet."""
    status = intent.get("status")
    if status == "succeeded":
        return Outcome("succeeded")
    if status == "processing":
        return Outcome("processing")
    if status == "requires_action":
        url = mapping(mapping(intent.get("next_action")).get("redirect_to_url")).get("url")
        there = isinstance(url, str) and url.startswith(("https://", "http://"))
        return Outcome("authentication", "requires_action", str(url) if there else None)
    if status == "canceled":
        return Outcome("given up", "canceled")
    error = mapping(intent.get("last_payment_error"))
    return failure(error) if error else None


def failure(error: Mapping[str, Any]) -> Outcome:
    """What an error of a card says."""
    code, reason = error.get("code"), error.get("decline_code")
    if "authentication_required" in (code, reason) or code == "payment_intent_authentication_failure":
        return Outcome("authentication", "authentication_required")
    return Outcome("declined", str(reason or code or "declined")[:_CODE_CHARS_MAX])


def _set_up(intent: Mapping[str, Any]) -> SetUp:
    id, secret, status = intent.get("id"), intent.get("client_secret"), intent.get("status")
    if not (isinstance(id, str) and isinstance(secret, str)):
        raise PaymentServiceUnavailable()
    return SetUp(id, secret, "open" if status in _OPEN else "done" if status == "succeeded" else "gone")


def _is_refusal(error: BaseException | None) -> bool:
    """Whether Stripe has said no to the words themselves; not that somebody else holds the key just now."""
    import stripe

    return isinstance(error, stripe.InvalidRequestError | stripe.PermissionError)


def _there(made: Any) -> Any:
    """What was made. Stripe said that something it is made of is not there: raises PaymentServiceUnavailable."""
    if made is None:
        raise PaymentServiceUnavailable()
    return made
