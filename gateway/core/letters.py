"""What the holder of a wallet is written: the words of each message, and where they can say that it was the last.

A letter goes to somebody who paid, and says no more than they need to act: no reason of an operator's, no other
account, no address of an invoice, for those may be somebody else's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.core.money import Money
from gateway.core.outgoing import AlertType, Outgoing, Type

STOP_PATH = "/-/no-mail"
_PAUSES = {
    "declined": "the bank declined it",
    "authentication_required": "the bank wants you to confirm it",
    "card_removed": "the card was removed",
}


@dataclass(frozen=True, slots=True)
class Letter:
    """Plain text."""

    id: str
    subject: str
    text: str
    stop: str | None
    """Where its receiver wants no more of them; None for one that they asked for."""


def letter(message: Outgoing, *, public_url: str, stop: str) -> Letter:
    """What a message is as a letter."""
    subject, says = _words(message.type, message.content)
    text = f"{says}\n\nYour wallet: {public_url}/-/wallet\n\n-- \nNo more of these e-mails: {stop}\n"
    return Letter(message.id, subject, text, stop)


def licence_letter(id: str, code: str, others: Sequence[str]) -> Letter:
    """The code that brings a licence to a device; and where subscriptions can be ended that are paid for besides."""
    more = "".join(f"\nAnother subscription of yours is paid for besides. To look at it: {url}\n" for url in others)
    text = (
        f"Your code: {code}\n\nType it where you asked for it, within ten minutes. It is good once."
        f" If you did not ask for it, there is nothing to do; tell it nobody.\n{more}"
    )
    return Letter(id, "Your licence code", text, None)


def _words(type: Type | AlertType, content: Mapping[str, Any]) -> tuple[str, str]:
    match type:
        case "balance.low":
            return "Your balance is low", f"Your balance is {content['balance']}. Add credit so that it goes on."
        case "cap.near":
            period = {"day": " of this day", "month": " of this month"}.get(content["per"], "")
            if content["cap"] is None:
                says = f"{content['spent']} is spent{period}; you wanted to know from {content['tell_at']} on."
                return "A budget is used up", f"{says} Nothing is refused for it."
            says = f"{content['spent']} of the spending cap{period} is spent, which is {content['cap']}."
            return "A spending cap is nearly used up", f"{says} What costs more than is left is refused."
        case "payment.failed":
            amount = Money(content["micros"], content["currency"])
            return "A payment failed", f"A payment of {amount} was not made. The wallet says what can be done."
        case "card.expiring":
            card, until = content["card"], content["expires"]
            return "Your card expires", f"The saved card {card} is good until {until}. Save another one in the wallet."
        case "account.frozen":
            return "Your account is frozen", "Nothing can be spent until the operator has looked; your money stays."
        case "auto_top_up.paused":
            why = _PAUSES.get(str(content["reason"]))
            says = "Your saved card is not charged any more" + (f": {why}." if why else ".")
            return "Automatic top-up is paused", f"{says} It goes on when you say so in the wallet."
        case "charge.pending":
            amount = Money(content["micros"], content["currency"])
            says = f"Your bank wants you to confirm a fee of {amount} that you agreed to: {content['url']}"
            return "Confirm a payment", says
        case "charge.failed":
            amount = Money(content["micros"], content["currency"])
            says = f"A fee of {amount} that you agreed to could not be charged. Save another payment method, or ask us."
            return "A fee could not be charged", says
        case "wallet.joined":
            says = "Somebody paid with the same card or Link account as you, and uses this wallet now, too."
            return "A wallet was joined with yours", f"{says} If that was not you, ask the operator at once."
        case "alert.opened" | "alert.reminded" | "alert.ended" | "alert.test":
            raise ValueError(f"{type}: what operators are told goes to nobody else")
