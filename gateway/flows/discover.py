"""Where a provider's addresses are, by what it publishes (OpenID Connect Discovery); known for ten minutes."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeGuard

from gateway.core.refusals import SignInUnavailable
from gateway.core.sign_ins import Provider, read_object
from gateway.ports import Calls, NoReply

_PATH = ".well-known/openid-configuration"
_KNOWN_SECONDS = 600.0


class Discover:
    """Implements `ports.Discovers`. `now` counts seconds and never goes back."""

    def __init__(self, *, calls: Calls, now: Callable[[], float], report: Callable[..., None]) -> None:
        self._calls = calls
        self._now = now
        self._report = report
        self._found: dict[str, tuple[float, Provider, bool]] = {}

    async def known(self, provider: Provider) -> tuple[Provider, bool]:
        if not provider.discovers:
            return provider, False
        held = self._found.get(provider.name)
        if held is not None and self._now() - held[0] < _KNOWN_SECONDS:
            return held[1], held[2]
        try:
            reply = await self._calls.call(f"{(provider.issuer or '').rstrip('/')}/{_PATH}", fields={})
        except NoReply as failed:
            raise self._unknown(provider, str(failed)) from None
        said = read_object(reply.body) if reply.status == 200 else {}
        if said.get("issuer") != provider.issuer:
            raise self._unknown(provider, "its discovery is that of another issuer")
        authorize = provider.authorize_url or said.get("authorization_endpoint")
        token = provider.token_url or said.get("token_endpoint")
        revoke = provider.revoke_url or said.get("revocation_endpoint")
        if not _is_address(authorize) or not _is_address(token):
            raise self._unknown(provider, "its discovery does not say where it is")
        told = replace(
            provider, authorize_url=authorize, token_url=token, revoke_url=revoke if _is_address(revoke) else None
        )
        says_issuer = said.get("authorization_response_iss_parameter_supported") is True
        self._found[provider.name] = self._now(), told, says_issuer
        return told, says_issuer

    def _unknown(self, provider: Provider, why: str) -> SignInUnavailable:
        self._report("a provider does not say where it is", provider=provider.name, why=why)
        return SignInUnavailable()


def _is_address(url: object) -> TypeGuard[str]:
    return isinstance(url, str) and url.startswith(("https://", "http://")) and url.isascii() and url.isprintable()
