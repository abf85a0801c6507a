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


ALL: tuple[Callable[[Draft], None], ...] = (a_country_is_allowed_or_denied,)
