"""OAuth 2.1, as far as it is pure: clients and where they may be sent back to, PKCE, resources and scopes.

Only the authorization code is granted, and only with PKCE by S256 (RFC 7636); `plain` is refused, and so is a code
without. A redirect goes to an address that the client has registered, character by character; a program on the
person's own machine may choose its port (RFC 8252, section 7.3) and nothing else.

A *resource* (RFC 8707) is one route that asks for authorization, by its address, or all of them by the address of the
gateway. A *scope* is the name of a route. What is granted holds for one resource and is shown at no other.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import SplitResult, parse_qsl, unquote_plus, urlencode, urlsplit, urlunsplit

AUTHORIZE, TOKEN, REGISTER = "/-/oauth/authorize", "/-/oauth/token", "/-/oauth/register"
REVOKE, INTROSPECT = "/-/oauth/revoke", "/-/oauth/introspect"
SERVER_METADATA = "/.well-known/oauth-authorization-server"
RESOURCE_METADATA = "/.well-known/oauth-protected-resource"

AuthMethod = Literal["none", "client_secret_post", "client_secret_basic"]
AUTH_METHODS: tuple[AuthMethod, ...] = ("none", "client_secret_basic", "client_secret_post")
GRANTS = ("authorization_code", "refresh_token")
REDIRECTS_MAX = 10
URL_CHARS_MAX = 500
NAME_CHARS_MAX = 60
_IGNORED_SCOPES = frozenset(("offline_access", "openid", "profile", "email"))
_LOOPBACK = frozenset(("127.0.0.1", "::1", "localhost"))
AGENTS_SCHEMES = frozenset(("claude", "cursor", "vscode", "vscode-insiders", "warp", "windsurf", "zed"))
"""Those of well-known agents, which have no dot."""
_OWN_SCHEME = re.compile(r"(?!com\.apple\.|microsoft\.)[a-z]{2,20}(\.[a-z0-9-]{1,40}){1,5}")
"""A program's own (RFC 8252, section 7.1): a domain, backwards. The other schemes are of the system and its tools, of
which some do harm as soon as they are opened."""
_PLAIN_URL = re.compile(r"[!#$%&'()*+,\-./0-9:;=?@A-Z\[\]_a-z~]+")
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")


class OAuthRefused(Exception):
    """An error by the names of RFC 6749 and its kin, told to the client as the protocol has it."""

    def __init__(self, error: str, description: str, *, status: int = 400) -> None:
        super().__init__(error, description)
        self.error = error
        self.description = description
        self.status = status


@dataclass(frozen=True, slots=True)
class Client:
    """A program that may ask people for leave. Its `id` is ours, or the address of what it says of itself."""

    id: str
    name: str
    redirect_uris: tuple[str, ...]
    auth: AuthMethod = "none"
    key_id: str | None = None
    """Of which sealing key its secret was made; None if it has none, or it is not known yet."""

    @property
    def is_by_document(self) -> bool:
        return self.id.startswith(("https://", "http://"))

    def redirect(self, asked: str | None) -> str:
        """Where an answer goes. Raises OAuthRefused."""
        if asked is None and len(self.redirect_uris) == 1:
            asked = self.redirect_uris[0]
        good = asked is not None and any(_is_same_place(asked, known) for known in self.redirect_uris)
        # Again, for what is on record from a time that took more.
        if asked is not None and good and not _problem_of_redirect(asked):
            return asked
        raise OAuthRefused("invalid_request", "redirect_uri is none of those that the client has registered")


def read_client(id: str, said: Mapping[str, Any]) -> Client:
    """From what a client says of itself (RFC 7591, section 2). Raises OAuthRefused."""
    addresses = said.get("redirect_uris")
    if not isinstance(addresses, list) or not 1 <= len(addresses) <= REDIRECTS_MAX:
        raise OAuthRefused("invalid_redirect_uri", f"redirect_uris: a list of one to {REDIRECTS_MAX} was expected")
    for address in addresses:
        if why := _problem_of_redirect(address):
            raise OAuthRefused("invalid_redirect_uri", f"redirect_uris: {why}")
    asked = said.get("token_endpoint_auth_method", "none" if id.startswith("http") else "client_secret_basic")
    auth = next((method for method in AUTH_METHODS if method == asked), None)
    if auth is None:
        raise OAuthRefused("invalid_client_metadata", "token_endpoint_auth_method: " + " or ".join(AUTH_METHODS))
    grants = said.get("grant_types", ["authorization_code"])
    if not isinstance(grants, list) or "authorization_code" not in grants:
        raise OAuthRefused("invalid_client_metadata", "grant_types: authorization_code is the way here")
    name = said.get("client_name")
    return Client(id, _printable(name if isinstance(name, str) else ""), tuple(addresses), auth)


def read_document(url: str, said: object) -> Client:
    """From the document at the address that is a client's id. Raises OAuthRefused."""
    if not isinstance(said, dict) or said.get("client_id") != url:
        raise OAuthRefused("invalid_client", "the document does not name its own address as client_id", status=401)
    client = read_client(url, said)
    if client.auth != "none" or "client_secret" in said:
        raise OAuthRefused("invalid_client", "a client by document has no secret: anybody can read it", status=401)
    return client


def is_document_address(id: str, *, private: bool) -> bool:
    """Whether an id is the address of a document: https, with a path, and nothing that could be spelt otherwise."""
    if len(id) > URL_CHARS_MAX or not _PLAIN_URL.fullmatch(id):
        return False
    try:
        url = urlsplit(id)
        port = url.port
    except ValueError:
        return False
    dots = any(part in (".", "..") for part in url.path.split("/"))
    scheme = url.scheme == "https" or (private and url.scheme == "http")
    return bool(
        scheme and url.hostname and port != 0 and url.path not in ("", "/")
        and not (dots or url.fragment or "#" in id or "@" in url.netloc)
    )  # fmt: skip


def _problem_of_redirect(address: object) -> str:
    if not isinstance(address, str) or len(address) > URL_CHARS_MAX or not _PLAIN_URL.fullmatch(address):
        return f"each is an address of at most {URL_CHARS_MAX} plain characters"
    try:
        url = urlsplit(address)
        url.port  # noqa: B018 -- it is read when it is asked for
    except ValueError:
        return "this is no address"
    if "#" in address or "@" in url.netloc:
        return "an address here has no fragment and no user"
    if url.scheme == "https":
        return "" if url.hostname else "an address has a host"
    if url.scheme == "http":
        return "" if url.hostname in _LOOPBACK else "http:// is for the person's own machine; write https://"
    if url.scheme in AGENTS_SCHEMES or _OWN_SCHEME.fullmatch(url.scheme):
        return ""
    return "this scheme is not for redirects; a program's own is a domain backwards, such as com.example.app:"


def _is_same_place(asked: str, known: str) -> bool:
    return asked == known or (_without_port(asked) is not None and _without_port(asked) == _without_port(known))


def _without_port(address: str) -> SplitResult | None:
    """An address of the person's own machine, whichever its port; None for any other."""
    if not address.startswith("http://") or not _PLAIN_URL.fullmatch(address):
        return None
    try:
        url = urlsplit(address)
        port = url.port
    except ValueError:
        return None
    host = url.hostname or ""
    if host not in _LOOPBACK or "@" in url.netloc or "#" in address:
        return None
    return url._replace(netloc=url.netloc.removesuffix(f":{port}") if port is not None else url.netloc)


def _printable(name: str) -> str:
    return " ".join("".join(char if char.isprintable() else " " for char in name).split())[:NAME_CHARS_MAX].strip()


def client_shown(fields: Mapping[str, str], authorization: str) -> tuple[str, str | None]:
    """Who a client says it is, and its secret: in the form or in the header, for libraries mix them up.

    Raises OAuthRefused.
    """
    id, secret = fields.get("client_id", ""), fields.get("client_secret")
    scheme, _, pair = authorization.partition(" ")
    if scheme.lower() != "basic":
        return id, secret
    try:
        name, _, word = base64.b64decode(pair, validate=True).decode().partition(":")
    except ValueError:
        raise OAuthRefused("invalid_client", "the Authorization field cannot be read", status=401) from None
    if secret is not None or (id and id != unquote_plus(name)):
        raise OAuthRefused("invalid_request", "a client shows who it is in one way")
    return unquote_plus(name), unquote_plus(word)


# --- PKCE -------------------------------------------------------------------------------------------------------------


def is_challenge(text: str) -> bool:
    return _CHALLENGE.fullmatch(text) is not None


def proves(verifier: str, challenge: str) -> bool:
    """Whether this is what the challenge was made of, by S256."""
    if not _VERIFIER.fullmatch(verifier):
        return False
    made = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
    return hmac.compare_digest(made, challenge)


# --- resources and scopes ---------------------------------------------------------------------------------------------


def resource_of(issuer: str, match: str) -> str:
    """What a route is called as a resource: its address, without a slash at the end."""
    return (issuer + match).rstrip("/")


def covers(audience: str, resource: str) -> bool:
    """Whether what was granted for one resource may be shown at another: at itself, and at what lies below it."""
    return bool(resource) and (resource == audience or resource.startswith(f"{audience}/"))


def granted(asked: str | None, offered: Iterable[str]) -> tuple[str, ...]:
    """Which scopes are meant: those that are there, or all where none was named. Raises OAuthRefused."""
    there = tuple(offered)
    wanted = [one for one in (asked or "").split() if one not in _IGNORED_SCOPES]
    found = tuple(one for one in there if one in wanted) if wanted else there
    if not found:
        raise OAuthRefused("invalid_scope", "none of these scopes is of this resource")
    return found


def metadata_url(issuer: str, resource: str) -> str:
    """Where a resource says who grants access to it (RFC 9728, section 3.1)."""
    return f"{issuer}{RESOURCE_METADATA}{resource.removeprefix(issuer)}"


def challenge_field(issuer: str, resource: str, scope: str, error: str = "") -> str:
    """What `WWW-Authenticate` says to a client that may not yet (RFC 6750, section 3; RFC 9728, section 5.1)."""
    said = {"error": error, "resource_metadata": metadata_url(issuer, resource), "scope": scope}
    return "Bearer " + ", ".join(f'{name}="{value}"' for name, value in said.items() if value)


# --- requests ---------------------------------------------------------------------------------------------------------


def single(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Parameters by name; one that is there twice means two things. Raises OAuthRefused."""
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            error = "invalid_target" if name == "resource" else "invalid_request"
            raise OAuthRefused(error, f"{_printable(name)}: once is enough")
        found[name] = value
    return found


def with_answer(redirect: str, answer: Mapping[str, str | None]) -> str:
    """The address of a redirect with an answer in its query."""
    url = urlsplit(redirect)
    query = [*parse_qsl(url.query, keep_blank_values=True), *((k, v) for k, v in answer.items() if v is not None)]
    return urlunsplit(url._replace(query=urlencode(query)))


def origin_of(redirect: str) -> str:
    """What a browser's policy calls the place of a redirect: `https://app.example`, or `cursor:`."""
    url = urlsplit(redirect)
    return f"{url.scheme}://{url.netloc}" if url.scheme in ("https", "http") else f"{url.scheme}:"


@dataclass(frozen=True, slots=True)
class Consent:
    """What a person has allowed a client. `grant` is the token that stands for it in their wallet."""

    grant: str
    account: str
    client: str
    resource: str
    scopes: tuple[str, ...]
    at_ms: int


@dataclass(frozen=True, slots=True)
class Ticket:
    """What buys tokens, once: the code behind a redirect, or a refresh token. Kept by its keyed digest."""

    digest: bytes
    kind: Literal["code", "refresh"]
    grant: str
    expires_ms: int
    redirect: str = ""
    challenge: str = ""
    used_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Access:
    """An access token that a ticket buys, by its keyed digest: another secret behind the ticket's grant."""

    digest: bytes
    pepper_id: str
    expires_ms: int
