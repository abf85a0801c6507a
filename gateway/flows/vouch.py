"""A token of an outside provider -> who is calling.

A token counts where its issuer is configured to be looked for: in a header, in a cookie. The first that is good
decides. What was verified is remembered by a keyed digest of the whole token until it expires, the one that was used
longest ago forgotten first: so a token is verified once in each process. One that is not good is not remembered, and
its caller is told no more than that; the operator hears why, of one a second at most.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import blake2b

from gateway.core import jwts
from gateway.core.jwts import SECRET_ALGORITHM, Issuer, NotAccepted, Person
from gateway.core.refusals import IdentityUnavailable
from gateway.ports import Clock, KeySets

_REMEMBERED_MAX = 20_000
_HEADER, _COOKIE = "header", "cookie"
_Place = tuple[str, str]


class Vouch:
    """Implements `ports.Vouches`. `keys` are those of each issuer that has a key pair, by its name."""

    def __init__(
        self,
        issuers: Sequence[Issuer],
        keys: Mapping[str, KeySets],
        *,
        clock: Clock,
        memory_key: bytes,
        report: Callable[..., None],
    ) -> None:
        self._issuers = tuple(issuers)
        self._keys = keys
        self._clock = clock
        self._memory_key = memory_key
        self._report = report
        self._places = tuple(dict.fromkeys(place for issuer in issuers for place in _places(issuer)))
        self._remembered: OrderedDict[bytes, tuple[Person, Issuer]] = OrderedDict()

    async def known(
        self, headers: Mapping[str, str], cookies: Mapping[str, str], issuers: Sequence[str] | None
    ) -> Person | None:
        unavailable: IdentityUnavailable | None = None
        for token, place in self._presented(headers, cookies):
            try:
                person, issuer = self._recalled(token) or await self._verified(token)
            except NotAccepted as refused:
                self._report("a token of an outside provider was refused", why=str(refused))
                continue
            except IdentityUnavailable as failed:
                unavailable = failed
                continue
            if place in _places(issuer) and (issuers is None or issuer.name in issuers):
                return person
        if unavailable is not None:
            raise unavailable
        return None

    def _presented(self, headers: Mapping[str, str], cookies: Mapping[str, str]) -> Iterator[tuple[str, _Place]]:
        """What may be a token, and where it stands."""
        for place in self._places:
            kind, name = place
            value = (headers if kind == _HEADER else cookies).get(name, "").strip()
            if kind == _HEADER:
                scheme, _, rest = value.partition(" ")
                if scheme.lower() == "bearer":
                    value = rest.strip()
                elif name == "authorization":
                    continue
            if value and jwts.is_jwt(value):
                yield value, place

    def _digest(self, token: str) -> bytes:
        return blake2b(token.encode(), key=self._memory_key, digest_size=32).digest()

    def _recalled(self, token: str) -> tuple[Person, Issuer] | None:
        digest = self._digest(token)
        found = self._remembered.get(digest)
        if found is None:
            return None
        if found[0].until <= self._clock.now_ms() / 1000:
            del self._remembered[digest]
            return None
        self._remembered.move_to_end(digest)
        return found

    async def _verified(self, token: str) -> tuple[Person, Issuer]:
        """Raises NotAccepted, IdentityUnavailable."""
        read = jwts.read(token)
        by_secret = read.algorithm == SECRET_ALGORITHM
        for issuer in self._issuers:
            if issuer.url == read.claimed_issuer and (issuer.secret is not None) == by_secret:
                break
        else:
            raise NotAccepted("its issuer is not one that is configured for its algorithm")
        now = self._clock.now_ms() / 1000
        person = jwts.person(read, issuer, now=now)  # first: what has expired asks for no keys
        if issuer.secret is not None:
            jwts.check_secret(read, issuer.secret)
        elif read.algorithm not in issuer.algorithms:
            raise NotAccepted("its algorithm is not one of its issuer's")
        else:
            key = await self._keys[issuer.name].find(read.key_id, read.algorithm)
            if key is None:
                raise NotAccepted("its key is not one of its issuer's")
            jwts.check_signature(read, issuer, key)
        self._remembered[self._digest(token)] = person, issuer
        if len(self._remembered) > _REMEMBERED_MAX:
            self._remembered.popitem(last=False)
        return person, issuer


def _places(issuer: Issuer) -> tuple[_Place, ...]:
    header = ((_HEADER, issuer.header),) if issuer.header else ()
    return (*header, (_COOKIE, issuer.cookie)) if issuer.cookie else header
