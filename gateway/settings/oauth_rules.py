"""What must agree in the settings of OAuth. Rules as in `rules`."""

from collections.abc import Callable

from gateway.settings import forms
from gateway.settings.draft import Draft
from gateway.settings.masking import shown
from gateway.settings.suggestions import did_you_mean


def routes_are_granted_that_there_are(draft: Draft) -> None:
    known = [draft.text("routes", number, "name") for number in draft.numbers("routes")]
    names = [name for name in known if name]
    for number in draft.numbers("oauth", "routes"):
        name = draft.read(forms.name, "oauth", "routes", number)
        if name is not None and name not in names:
            hint = did_you_mean(name, names)
            draft.report.add(("oauth", "routes", number), f"there is no route {shown(name)}{hint}")


def the_suggestion_is_of_our_currency(draft: Draft) -> None:
    currency, path = draft.read(forms.currency, "currency"), ("oauth", "spend_default")
    amount = draft.read(forms.amount, *path)
    if amount is not None and currency and amount.currency != currency:
        draft.report.add(path, f"this is in {amount.currency}, but `currency` is {currency}")


def nothing_for_tests_is_live(draft: Draft) -> None:
    if draft.text("mode") != "live":
        return
    if draft.text("oauth", "consent") == "given":
        draft.report.add(("oauth", "consent"), "in mode live people are asked; remove this setting")
    if draft.truth("oauth", "private_addresses"):
        draft.report.add(("oauth", "private_addresses"), "in mode live clients' documents are on the internet")


ALL: tuple[Callable[[Draft], None], ...] = (
    routes_are_granted_that_there_are,
    the_suggestion_is_of_our_currency,
    nothing_for_tests_is_live,
)
