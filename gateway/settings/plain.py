"""Settings as they may be shown and kept as evidence: everything but secrets, and which secrets there are."""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import fields, is_dataclass
from typing import Any

from gateway.core.redaction import redacted
from gateway.core.secrets import Secret
from gateway.settings.masking import MASK


def plain(value: object) -> Any:
    """As JSON has it. A secret is a mask; a text is looked over once more, for keys in wrong places."""
    if isinstance(value, Secret):
        return MASK
    if value is None or isinstance(value, bool | int | float):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {redacted(str(name)): plain(one) for name, one in value.items()}
    if isinstance(value, Set):
        return sorted(redacted(str(one)) for one in value)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [plain(one) for one in value]
    return redacted(str(value))


def secrets_in(value: object, path: str = "") -> Iterator[tuple[str, Secret]]:
    """Each secret, and where it stands: `stripe.webhook_secrets[0]`."""
    if isinstance(value, Secret):
        yield path, value
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from secrets_in(getattr(value, field.name), f"{path}.{field.name}" if path else field.name)
    elif isinstance(value, Mapping):
        for name, one in value.items():
            yield from secrets_in(one, f"{path}.{name}")
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for at, one in enumerate(value):
            yield from secrets_in(one, f"{path}[{at}]")
