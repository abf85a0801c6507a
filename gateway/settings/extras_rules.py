"""What must agree in the settings of extras. Rules as in `rules`."""

from collections.abc import Callable

from gateway.settings import forms
from gateway.settings.draft import Draft


def a_country_is_allowed_or_denied(draft: Draft) -> None:
    lists = {
        name: [draft.read(forms.country, "geo", name, number) for number in draft.numbers("geo", name)]
        for name in ("allow", "deny")
    }
    for number, country in enumerate(lists["deny"]):
        if country is not None and country in lists["allow"]:
            draft.report.add(("geo", "deny", number), f"{country} is in `allow` as well; write it once")


def letters_say_what_notices_tell(draft: Draft) -> None:
    if draft.given("mail") and not draft.given("notices") and not draft.given("licences"):
        words = "what is written is what `notices` tells, and codes for `licences`; add one of them"
        draft.report.add(("mail",), words, at_key=True)


def letters_travel_sealed(draft: Draft) -> None:
    host, path = draft.read(forms.host_name, "mail", "host"), ("mail", "starttls")
    if host and draft.given(*path) and not draft.truth(*path) and not forms.is_loopback(host):
        draft.report.add(path, "letters must not travel in the clear; remove this, or have a server on this machine")


def who_logs_in_for_mail_has_both(draft: Draft) -> None:
    for name, other in (("user", "password"), ("password", "user")):
        if draft.given("mail", name) and not draft.given("mail", other):
            draft.report.add(("mail", name), f"a login needs `{other}` as well")


ALL: tuple[Callable[[Draft], None], ...] = (
    a_country_is_allowed_or_denied,
    letters_say_what_notices_tell,
    letters_travel_sealed,
    who_logs_in_for_mail_has_both,
)
