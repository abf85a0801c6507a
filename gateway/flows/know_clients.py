"""Which program asks for leave: registered here (RFC 7591), or described by a document at its own address.

Anybody may register, so nothing of it is believed: a name is only shown beside the address that answers go to, and so
many may be on record, from one address so many in an hour and five times as many from an IPv6 network of 48 bits, those
that nobody allowed anything for a week at most. Where there are as many as may be, the oldest of these makes room: so
nobody who registers many keeps others out. A secret is derived from the client's id by our keyring, so none is kept,
and one is good while its key is, which is as long as anybody allows the client anything (`core/rotation.py`).

A document is fetched from public addresses alone, without following anybody elsewhere, in 5 seconds, up to 5 KB; what
it says is kept for as long as it says, an hour at most, and what could not be had for a minute.
"""

import base64
import hmac
import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gateway.core.keyring import KEY_ID_CHARS, Key, Keyring, UnknownKey
from gateway.core.limits import SITE_BITS, Rate, network
from gateway.core.oauth import (
    GRANTS,
    Client,
    OAuthRefused,
    client_shown,
    is_document_address,
    origin_of,
    read_client,
    read_document,
)
from gateway.core.refusals import RateLimited
from gateway.core.trail import Act
from gateway.ports import Clock, Documents, NotFetched, OAuthBook, Randomness, RateLimits, Witnesses

_PURPOSE = "oauth client secret"
UNUSED_MS = 7 * 86_400_000
_KEPT_MS, _FAILED_MS, _LEAST_MS = 3_600_000, 60_000, 60_000
_DOCUMENTS_MAX = 1_000
_SITE_TIMES = 5


class KnowClients:
    """Registers programs and finds them again."""

    def __init__(
        self,
        *,
        book: OAuthBook,
        documents: Documents,
        keyring: Keyring,
        limits: RateLimits,
        registrations: Rate,
        clients_max: int,
        private: bool,
        witness: Witnesses,
        clock: Clock,
        randomness: Randomness,
    ) -> None:
        self._book = book
        self._documents = documents
        self._keyring = keyring
        self._limits = limits
        self._registrations = registrations
        self._of_site = _times(registrations, _SITE_TIMES)
        self._clients_max = clients_max
        self._private = private
        self._witness = witness
        self._clock = clock
        self._randomness = randomness
        self._read: OrderedDict[str, tuple[int, Client | None]] = OrderedDict()

    async def register(self, said: Mapping[str, Any], peer: str) -> dict[str, Any]:
        """What a client is told of itself. Raises OAuthRefused, RateLimited, RecordsUnavailable."""
        id = "client_" + base64.urlsafe_b64encode(self._randomness.bytes(18)).decode()
        client, key = read_client(id, said), self._keyring.newest
        if client.auth != "none":
            client = replace(client, key_id=key.id)
        await self._admit(peer)
        await self._witness.write(
            Act("client", "consumer", "oauth.register", id, "api", facts={"to": origin_of(client.redirect_uris[0])})
        )
        now_ms = self._clock.now_ms()
        await self._book.drop_clients(before_ms=now_ms - UNUSED_MS)
        if not await self._book.add_client(client, now_ms=now_ms, count_max=self._clients_max):
            raise OAuthRefused("temporarily_unavailable", "as many clients as may be are registered", status=503)
        told: dict[str, Any] = {
            "client_id": id,
            "client_id_issued_at": now_ms // 1000,
            "client_name": client.name,
            "redirect_uris": list(client.redirect_uris),
            "grant_types": list(GRANTS),
            "response_types": ["code"],
            "token_endpoint_auth_method": client.auth,
        }
        if client.auth != "none":
            told |= {"client_secret": _secret(key, id), "client_secret_expires_at": 0}
        return told

    async def find(self, id: str, peer: str) -> Client:
        """Raises OAuthRefused, RateLimited, RecordsUnavailable."""
        found = (
            await self._by_document(id, peer)
            if is_document_address(id, private=self._private)
            else await self._book.find_client(id)
        )
        if found is None:
            raise OAuthRefused("invalid_client", "there is no such client", status=401)
        return found

    async def authenticate(self, fields: Mapping[str, str], authorization: str, peer: str) -> Client:
        """The client that asks.

        Raises OAuthRefused, RateLimited, RecordsUnavailable.
        """
        id, secret = client_shown(fields, authorization)
        client = await self.find(id, peer)
        if client.auth == "none":
            if secret:
                raise OAuthRefused("invalid_client", "this client has no secret", status=401)
        elif secret is None or not self._is_secret_of(client, secret):
            raise OAuthRefused("invalid_client", "this client proves itself by its secret", status=401)
        elif client.key_id is None:
            await self._book.note_key(client.id, secret[:KEY_ID_CHARS])
        return client

    def _is_secret_of(self, client: Client, secret: str) -> bool:
        try:
            key = self._keyring.key(secret[:KEY_ID_CHARS])
        except UnknownKey:
            return False
        return hmac.compare_digest(_secret(key, client.id).encode(), secret.encode("utf-8", "surrogateescape"))

    async def _by_document(self, url: str, peer: str) -> Client | None:
        until_ms, known = self._read.get(url, (0, None))
        now_ms = self._clock.now_ms()
        if now_ms < until_ms:
            return known
        await self._admit(peer)
        try:
            document = await self._documents.fetch(url)
            found, seconds = read_document(url, json.loads(document.content)), document.keep_seconds
        except NotFetched as why:
            self._keep(url, now_ms + _FAILED_MS, None)
            raise OAuthRefused("invalid_client", f"the client's document cannot be had: {why}", status=401) from None
        except (ValueError, RecursionError):
            self._keep(url, now_ms + _FAILED_MS, None)
            raise OAuthRefused("invalid_client", "the client's document is not JSON", status=401) from None
        kept_ms = _KEPT_MS if seconds is None else min(max(int(seconds * 1000), _LEAST_MS), _KEPT_MS)
        self._keep(url, now_ms + kept_ms, found)
        return found

    def _keep(self, url: str, until_ms: int, found: Client | None) -> None:
        self._read[url] = until_ms, found
        self._read.move_to_end(url)
        if len(self._read) > _DOCUMENTS_MAX:
            self._read.popitem(last=False)

    async def _admit(self, peer: str) -> None:
        """Raises RateLimited: so many for one address, some more for all that one customer may be given."""
        rates = {network(peer, SITE_BITS): self._of_site, network(peer): self._registrations}  # of IPv4 it is one
        for whose, rate in reversed(rates.items()):
            window = await self._limits.hit(rate, f"-/oauth clients {whose}")
            if not window.allowed:
                raise RateLimited(policy=rate.text, retry_after_seconds=max(1, window.reset_seconds))


def _times(rate: Rate, times: int) -> Rate:
    amount = rate.amount * times
    return replace(rate, amount=amount, text=f"{amount}/{rate.text.partition('/')[2]}")


def _secret(key: Key, id: str) -> str:
    made = hmac.digest(key.subkey(_PURPOSE), id.encode(), "sha256")
    return key.id + base64.urlsafe_b64encode(made).decode().rstrip("=")
