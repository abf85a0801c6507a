"""Which entries a command may have written for it: of payments, payouts and charges, each by its own money key."""

from gateway.core.charges import PLATFORM_HOLDER
from gateway.core.held import HELD, read_due_account
from gateway.core.transfers import CLAW_BACK_REF, PAYOUT_REF, is_owner
from gateway.web.by_hand import check_account

_PROCEEDS = "proceeds:"


def check_entry(account: str, ref: str) -> None:
    """Raises ValueError with the field's name: whoever holds it has entries of this kind, or it is a caller's."""
    if is_owner(account):
        if not ref.startswith((f"{PAYOUT_REF}:", f"{CLAW_BACK_REF}:")):
            raise ValueError("ref: it is not that of a payout or a claw-back")
    elif account.startswith(HELD):
        if not ref.startswith((f"{PAYOUT_REF}:", _PROCEEDS) if _is_due(account) else _PROCEEDS):
            raise ValueError("ref: it is not that of a payout or of what is held")
    else:
        if account != PLATFORM_HOLDER:
            check_account(account)
        if not ref.startswith("stripe:"):
            raise ValueError("ref: it is not that of a payment")


def _is_due(account: str) -> bool:
    try:
        read_due_account(account)
    except ValueError:
        return False
    return True
