"""Services: programs of the platform's own that call us, each in one role, with tokens that are good for minutes.

A service shows its secret at the token endpoint alone (RFC 6749, section 4.4) and gets a token of the kind
`service+jwt`, for the APIs that it names (`aud`). No other token of ours is of that kind, and this one is of no other:
it is no licence, no session, and spends nobody's money. What each role may call is a table, and what does not stand
there is refused.
"""

import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from gateway.core.jwts import texts

KIND: Final = "service+jwt"
"""What such a token says it is."""
SECONDS: Final = 300
"""How long one is good, at most."""
SECRET_BEGINS: Final = "fbs_"  # noqa: S105 -- what one looks like

ServiceRole = Literal["monitor", "auditor", "commission", "owner"]
ROLES: tuple[ServiceRole, ...] = get_args(ServiceRole)
Api = Literal["charge-commission", "transactions", "routes"]
APIS: tuple[Api, ...] = get_args(Api)

MAY: Mapping[ServiceRole, frozenset[Api]] = {
    "monitor": frozenset(),
    "auditor": frozenset(("transactions",)),
    "commission": frozenset(("transactions", "charge-commission")),
    "owner": frozenset(("routes",)),
}
"""Which APIs each role may call; `monitor` shows that it is there, and no more. An `owner`'s program acts for one."""

_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")


@dataclass(frozen=True, slots=True)
class Service:
    """A program that may call us. Of its secret there is a keyed digest; the `older` one is good until then."""

    name: str
    role: ServiceRole
    digest: bytes
    pepper_id: str
    created_ms: int
    rotated_ms: int
    older: bytes | None = None
    older_until_ms: int = 0
    owner: str = ""
    """For whom it acts, in the role `owner`."""

    def knows(self, digests: Iterable[bytes], now_ms: int) -> bool:
        """Whether one of these is of a secret that is good. Looks at all of them, in the same time."""
        good = [self.digest, *([self.older] if self.older is not None and now_ms < self.older_until_ms else [])]
        found = False
        for one in digests:
            for other in good:
                found |= hmac.compare_digest(one, other)
        return found


@dataclass(frozen=True, slots=True)
class ServiceCaller:
    """Whom a good token is of."""

    name: str
    role: ServiceRole
    owner: str = ""

    @property
    def actor(self) -> str:
        """As the trail has it."""
        return f"service:{self.name}"


def service_name(text: str) -> str:
    """Raises ValueError."""
    if not _NAME.fullmatch(text):
        raise ValueError(f"{text[:80]!r} is no name of a service: small letters, digits and -, 63 at most")
    return text


def resource_of(public_url: str, api: Api) -> str:
    """What an API is called as an audience: its address."""
    return f"{public_url}/-/api/v1/owners" if api == "routes" else f"{public_url}/-/api/v1/stripe/{api}"


def claims(service: Service, audience: list[str], *, now_seconds: int, id: str) -> dict[str, Any]:
    """What a token says."""
    said = {"owner": service.owner} if service.owner else {}
    return said | {
        "aud": audience,
        "sub": f"service:{service.name}",
        "client_id": service.name,
        "role": service.role,
        "jti": id,
        "exp": now_seconds + SECONDS,
    }


def caller_of(said: Mapping[str, Any]) -> ServiceCaller | None:
    """Whom verified claims speak of; None if they are not what we write."""
    [subject, *_] = texts(said.get("sub")) or [""]
    role = next((one for one in ROLES if one == said.get("role")), None)
    name = subject.removeprefix("service:")
    if role is None or not subject.startswith("service:") or not _NAME.fullmatch(name):
        return None
    [owner] = texts(said.get("owner")) or [""]
    if bool(owner) != (role == "owner"):
        return None
    return ServiceCaller(name, role, owner)
