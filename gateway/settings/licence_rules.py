"""What must agree in the settings of licences. Rules as in `rules`."""

from collections.abc import Callable

from gateway.settings import forms
from gateway.settings.draft import Draft
from gateway.settings.masking import shown
from gateway.settings.suggestions import did_you_mean


def a_licence_is_of_a_plan(draft: Draft) -> None:
    if not draft.given("licences"):
        return
    known = draft.names("plans")
    if not known:
        draft.report.add(("licences",), "a licence proves a subscription; add `plans`", at_key=True)
        return
    for number in draft.numbers("licences", "plans"):
        path = ("licences", "plans", number)
        name = draft.read(forms.name, *path)
        if name is not None and name not in known:
            draft.report.add(path, f"there is no plan {shown(name)}{did_you_mean(name, known)}")


def codes_are_sent_by_mail(draft: Draft) -> None:
    by_code = draft.text("licences", "restore_proof") in (None, "code")
    if draft.given("licences") and by_code and not draft.given("mail"):
        words = "a code is sent by e-mail to who restores a licence; add `mail`, or see restore_proof"
        draft.report.add(("licences",), words, at_key=True)


def aliases_leave_routes_alone(draft: Draft) -> None:
    for alias in draft.numbers("licences", "aliases"):
        path = draft.text("licences", "aliases", alias)
        for number in draft.numbers("routes"):
            match = draft.read(forms.match, "routes", number, "match")
            if path and match and (match == path or (match.endswith("/") and path.startswith(match))):
                which = shown(draft.text("routes", number, "name") or f"routes[{number}]")
                draft.report.add(("licences", "aliases", alias), f"the route {which} serves this path")
                break


ALL: tuple[Callable[[Draft], None], ...] = (
    a_licence_is_of_a_plan,
    codes_are_sent_by_mail,
    aliases_leave_routes_alone,
)
