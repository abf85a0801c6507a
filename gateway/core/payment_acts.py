"""What happens to callers' payments, as entries of the trail.

The books are what counts; an entry here says who moved them and why, beside everything else that anybody did. Most are
of something that is in the books already: the object is what the books know it by, and of each object there is one
entry of each action, whoever comes first and however often it is told. What a saved card is asked for is written down
before it is asked: should it refuse, the books know nothing. `before` and `after` are ids: the payment and its credit,
the credit and what was taken of it. An account is named by its id, and nobody's name, address or card is here.
"""

from gateway.core.auto_top_ups import Pause, Refill
from gateway.core.ledger import Credit, Reversal
from gateway.core.payments import PARKED, Payment
from gateway.core.reversals import Credited, Notice
from gateway.core.trail import CHARS_MAX, Act, Origin


def credited(of: Credited, how: str, origin: Origin) -> Act:
    """A payment went into an account. Of one that went into several purses the first credit is the object."""
    refs = [f"stripe:{name}" for name, _, _ in of.credits]
    facts = {
        "account": of.account,
        "amount": str(of.credit),
        "paid": str(of.paid),
        "before": of.payment,
        "after": " ".join(refs)[:CHARS_MAX],
    }
    return _act("payment.credited", refs[0], f"{how} {of.session}", facts, origin)


def lessened(of: Reversal, payment: Payment, origin: Origin) -> Act:
    """A change of a subscription gave back more than it asked for."""
    facts = {"account": of.account, "amount": str(of.amount), "before": payment.subscription or "", "after": of.ref}
    return _act("payment.lessened", of.ref, f"subscription {payment.id}", facts, origin)


def moved(of: Credited, what: Credit | Reversal, before: str, origin: Origin) -> Act:
    """What the payer got back was taken from the account, or given to it again. `before` is the entry before it."""
    action = "payment.given_back" if isinstance(what, Credit) else "payment.taken_back"
    facts = {"account": of.account, "amount": str(what.amount), "before": before, "after": what.ref}
    return _act(action, what.ref, what.reason, facts, origin)


def asked(of: Refill) -> Act:
    """An automatic top-up begins: a saved card is about to be asked. `after` is the key of the call."""
    facts = {"account": of.account, "amount": str(of.amount), "before": "", "after": of.key}
    return Act("gateway", "gateway", "payment.asked", _top_up(of), "start", "auto top-up", facts)


def refused(of: Refill, pause: Pause, why: str) -> Act:
    """The card did not pay, and is not asked again until somebody acts."""
    facts = {"account": of.account, "amount": str(of.amount), "before": of.key, "after": ""}
    return _act("payment.refused", _top_up(of), f"{pause}: {why}" if why else pause, facts, "api")


def _top_up(of: Refill) -> str:
    return f"auto_top_up:{of.account}:{of.number}"


def parked(payment: Payment | Notice, event: str, why: str) -> Act:
    """It reached no account, and waits for an operator."""
    amount = payment.shown if isinstance(payment, Payment) else payment.amount
    about = payment.id if isinstance(payment, Payment) else payment.payment
    facts = {"amount": str(amount), "before": event, "after": about}
    # A payment is told by several events, and each thing that goes back of one by its own.
    object = payment.id if isinstance(payment, Payment) else event
    return _act("payment.set_aside", object, PARKED.get(why, why), facts, "webhook")


def _act(action: str, object: str, reason: str, facts: dict[str, str], origin: Origin) -> Act:
    return Act("stripe", "provider", action, object, origin, reason[:CHARS_MAX], facts)
