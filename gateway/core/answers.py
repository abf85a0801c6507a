"""An answer of our own, before any library gives it a face."""

from dataclasses import dataclass

from gateway.core.headers import Fields


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, fields and body. The fields do not frame the body: the road does."""

    status: int
    fields: Fields
    body: bytes
