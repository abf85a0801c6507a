"""What must agree in the settings of outside identity providers and of CORS. Rules as in `rules`."""

from collections.abc import Callable

from gateway.settings import forms
from gateway.settings.draft import Draft
from gateway.settings.masking import shown
from gateway.settings.suggestions import did_you_mean

_ISSUERS = ("identity", "issuers")


def issuers_have_names_of_their_own(draft: Draft) -> None:
    first: dict[str, int] = {}
    for number in draft.numbers(*_ISSUERS):
        name = draft.read(forms.name, *_ISSUERS, number, "name")
        if name is not None and first.setdefault(name, number) != number:
            draft.report.add((*_ISSUERS, number, "name"), f"identity.issuers[{first[name]}] has this name")


def a_token_has_one_issuer(draft: Draft) -> None:
    """Twice the same is allowed for a provider that moves from a secret to a key pair."""
    first: dict[tuple[str, bool], int] = {}
    for number in draft.numbers(*_ISSUERS):
        url = draft.read(forms.endpoint, *_ISSUERS, number, "issuer")
        if url is None:
            continue
        key = url, draft.given(*_ISSUERS, number, "hs256_secret")
        if first.setdefault(key, number) != number:
            draft.report.add((*_ISSUERS, number, "issuer"), f"identity.issuers[{first[key]}] is the same issuer")


def a_token_is_meant_for_us(draft: Draft) -> None:
    for number in draft.numbers(*_ISSUERS):
        path = (*_ISSUERS, number)
        if draft.report.is_bad(path) or draft.text(*path, "preset") == "supabase":
            continue
        if not draft.given(*path, "audience") and not draft.given(*path, "azp"):
            which = "azp" if draft.text(*path, "preset") == "clerk" else "audience"
            words = f"`{which}` is missing: without it a token that was made for another service would be good here"
            draft.report.add((*path, "audience"), words)


def keys_come_by_https(draft: Draft) -> None:
    private = draft.truth("identity", "private_addresses")
    if private and draft.text("mode") == "live":
        draft.report.add(("identity", "private_addresses"), "in mode live issuers are on the internet")
    for number in draft.numbers(*_ISSUERS):
        for name in ("issuer", "jwks_url"):
            path = (*_ISSUERS, number, name)
            url = draft.read(forms.endpoint, *path)
            if url is None or private:
                continue
            if url.startswith("http://"):
                draft.report.add(path, "keys must not travel in the clear; write https://")
            elif forms.is_private(url):
                draft.report.add(path, "this is no address of the internet; see private_addresses")


def a_secret_is_instead_of_keys(draft: Draft) -> None:
    for number in draft.numbers(*_ISSUERS):
        path = (*_ISSUERS, number)
        if not draft.given(*path, "hs256_secret"):
            continue
        if draft.text(*path, "preset") != "supabase":
            draft.report.add((*path, "hs256_secret"), "only an older project of Supabase has one: preset: supabase")
        for name in ("jwks_url", "algorithms"):
            if draft.given(*path, name):
                draft.report.add((*path, name), "with hs256_secret there is none; a second issuer may have it")


def routes_name_issuers_that_there_are(draft: Draft) -> None:
    known = [draft.text(*_ISSUERS, number, "name") for number in draft.numbers(*_ISSUERS)]
    names = [name for name in known if name]
    for number in draft.numbers("routes"):
        path = ("routes", number)
        for place in draft.numbers(*path, "issuers"):
            name = draft.read(forms.name, *path, "issuers", place)
            if name is not None and name not in names:
                hint = did_you_mean(name, names)
                draft.report.add((*path, "issuers", place), f"there is no issuer {shown(name)}{hint}")
        if draft.truth(*path, "public") and draft.given(*path, "issuers"):
            draft.report.add((*path, "issuers"), "a public route is for everybody; remove one of the two")
        if draft.given(*path, "pass_claims") and not names:
            draft.report.add((*path, "pass_claims"), "nobody vouches for callers; add identity.issuers")


def claims_take_nothing_from_a_route(draft: Draft) -> None:
    for number in draft.numbers("routes"):
        claimed = {name.lower() for name in draft.names("routes", number, "pass_claims")}
        for rule in ("set", "add"):
            for name in draft.names("routes", number, "request_headers", rule):
                if name.lower() in claimed:
                    path = ("routes", number, "request_headers", rule, name)
                    draft.report.add(path, "pass_claims says this header; write it once")


def what_counts_as_ours_is_one_thing(draft: Draft) -> None:
    """A cookie or header of an issuer's that is ours as well would hold two kinds of token."""
    cookie, header = draft.text("tokens", "cookie"), draft.text("tokens", "header")
    for number in draft.numbers(*_ISSUERS):
        path = (*_ISSUERS, number)
        if cookie is not None and draft.text(*path, "cookie") == cookie:
            draft.report.add((*path, "cookie"), "our own tokens are in this cookie; see tokens.cookie")
        own = draft.text(*path, "header")
        if own and header and own.lower() == header.lower() != "authorization":
            draft.report.add((*path, "header"), "our own tokens are in this header; see tokens.header")


def pages_in_production_come_by_https(draft: Draft) -> None:
    for number in draft.numbers("cors", "origins", "production"):
        path = ("cors", "origins", "production", number)
        origin = draft.read(forms.origin, *path)
        if origin is not None and origin.scheme == "http":
            draft.report.add(path, "in production pages come by https://; others belong to development")


ALL: tuple[Callable[[Draft], None], ...] = (
    issuers_have_names_of_their_own,
    a_token_has_one_issuer,
    a_token_is_meant_for_us,
    keys_come_by_https,
    a_secret_is_instead_of_keys,
    routes_name_issuers_that_there_are,
    claims_take_nothing_from_a_route,
    what_counts_as_ours_is_one_thing,
    pages_in_production_come_by_https,
)
