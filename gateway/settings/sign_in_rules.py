"""What must agree in the settings of signing in. Rules as in `rules`."""

from collections.abc import Callable

from gateway.settings import forms
from gateway.settings.draft import Draft
from gateway.settings.masking import shown
from gateway.settings.nodes import Path
from gateway.settings.suggestions import did_you_mean

_PROVIDERS = ("sign_in", "providers")
_URLS = ("issuer", "authorize_url", "token_url", "profile_url", "revoke_url", "probe_url", "sync.url")


def providers_have_names_of_their_own(draft: Draft) -> None:
    first: dict[str, int] = {}
    for number in draft.numbers(*_PROVIDERS):
        name = draft.read(forms.name, *_PROVIDERS, number, "name")
        if name is not None and first.setdefault(name, number) != number:
            draft.report.add((*_PROVIDERS, number, "name"), f"sign_in.providers[{first[name]}] has this name")


def a_provider_is_known_or_says_where_it_is(draft: Draft) -> None:
    for number in draft.numbers(*_PROVIDERS):
        path = (*_PROVIDERS, number)
        preset = draft.text(*path, "preset")
        if draft.report.is_bad((*path, "preset")):
            continue
        if preset is None and not draft.given(*path, "issuer"):
            draft.report.add((*path, "issuer"), "`issuer` is missing: without a preset it says where the provider is")
        if (preset == "amazon-sp") != draft.given(*path, "application_id"):
            words = "`application_id` is missing" if preset == "amazon-sp" else "only amazon-sp has one"
            draft.report.add((*path, "application_id"), words)


def providers_are_spoken_to_by_https(draft: Draft) -> None:
    private = draft.truth("sign_in", "private_addresses")
    if private and draft.text("mode") == "live":
        draft.report.add(("sign_in", "private_addresses"), "in mode live providers are on the internet")
    for number in draft.numbers(*_PROVIDERS):
        for names in _URLS:
            path: Path = (*_PROVIDERS, number, *names.split("."))
            url = draft.read(forms.endpoint, *path)
            if url is None or private:
                continue
            if url.startswith("http://"):
                draft.report.add(path, "codes and tokens must not travel in the clear; write https://")
            elif forms.is_private(url):
                draft.report.add(path, "this is no address of the internet; see private_addresses")


def who_signs_in_is_vouched_for_by_nobody_else(draft: Draft) -> None:
    if draft.numbers(*_PROVIDERS) and draft.numbers("identity", "issuers"):
        words = "identity.issuers vouch for callers already, and every address needs their token; use one of the two"
        draft.report.add(("sign_in", "providers"), words)


def sessions_end(draft: Draft) -> None:
    idle = draft.read(forms.duration, "sign_in", "session_idle")
    if idle is not None and idle < 60:
        draft.report.add(("sign_in", "session_idle"), "nobody could read a page in that time; 1m at least")
    most = draft.read(forms.days, "sign_in", "session_max")
    if most is not None and most > 400:
        draft.report.add(("sign_in", "session_max"), "browsers keep no cookie longer than 400d")


def routes_inject_what_there_is(draft: Draft) -> None:
    known = [draft.text(*_PROVIDERS, number, "name") for number in draft.numbers(*_PROVIDERS)]
    names = [f"oauth:{name}" for name in known if name]
    for number in draft.numbers("routes"):
        wanted = draft.text("routes", number, "inject")
        if wanted is not None and wanted not in names:
            words = f"there is no {shown(wanted)} in sign_in.providers{did_you_mean(wanted, names)}"
            draft.report.add(("routes", number, "inject"), words)


ALL: tuple[Callable[[Draft], None], ...] = (
    providers_have_names_of_their_own,
    a_provider_is_known_or_says_where_it_is,
    providers_are_spoken_to_by_https,
    who_signs_in_is_vouched_for_by_nobody_else,
    sessions_end,
    routes_inject_what_there_is,
)
