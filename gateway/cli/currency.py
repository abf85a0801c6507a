"""Whether callers have money in another currency than the configuration's: nothing here spends it.

That is so after `currency` was changed over books that are not empty. It is no mistake of the file, so nothing refuses
to start for it; but callers who have paid are asked to pay, and nobody else would say why.
"""

from gateway.app.stores import statement_books
from gateway.core.caps import is_cap
from gateway.core.money import Money, is_named
from gateway.ports import BooksRefused, BooksSlow, StoreFailed
from gateway.settings import Settings

_SECONDS_MAX = 2.0


def money_elsewhere(settings: Settings) -> str | None:
    """A remark with both currencies and the sums. None where there is none, or the books cannot say it at once."""
    if settings.store_url is None and not settings.store_path.exists():
        return None
    try:
        with statement_books(settings).open(seconds=_SECONDS_MAX) as source:
            left = source.left(besides=settings.currency)
    except (BooksRefused, BooksSlow, StoreFailed, OSError):
        return None  # which whoever opens them next tells better
    sums = [
        str(Money(micros, unit)) for unit, micros in sorted(left.items()) if not is_named(unit) and not is_cap(unit)
    ]
    if not sums:
        return None
    return (
        f"currency: it is {settings.currency}, and callers have {', '.join(sums)} in the books, which pays for nothing"
        " here: put the currency back, or give that money back."
    )
