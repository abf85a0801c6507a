"""Which of a provider's events are about a person: those that name their account, or what is theirs at the provider.

Events lead from one to the next: a checkout names the account (its sealed reference) and a customer, the customer's
card names the customer alone. **An e-mail address leads nowhere**: whoever types another's address at a checkout must
not be handed what is theirs.
"""

import re
from collections.abc import Iterator, Mapping, Sequence, Set

from gateway.core import references
from gateway.core.keyring import Keyring, NotOurs, UnknownKey

_THEIRS = re.compile(r"(cus|pi|cs|sub|in|ch|py|seti|pm|re|pyr|dp|du)_\w+")
"""Ids of what one person has there. Prices, products and links are everybody's."""
_REFERENCE_CHARS_MIN = 64


def ids_in(content: object) -> set[str]:
    """The ids in an object of the provider's, of things that are one person's."""
    return {text for text in _texts(content) if _THEIRS.fullmatch(text)}


def is_about(content: object, *, ids: Set[str], accounts: Sequence[str], keyring: Keyring) -> bool:
    """Whether it names one of these things, or has a sealed reference to one of these accounts."""
    return not ids.isdisjoint(ids_in(content)) or any(
        _account(text, keyring) in accounts for text in _texts(content) if len(text) >= _REFERENCE_CHARS_MIN
    )


def _account(text: str, keyring: Keyring) -> str | None:
    try:
        return references.unseal(keyring, text).account
    except (NotOurs, UnknownKey):
        return None


def _texts(content: object) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, Mapping):
        for value in content.values():
            yield from _texts(value)
    elif isinstance(content, list):
        for value in content:
            yield from _texts(value)
