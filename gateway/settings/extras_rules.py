"""What must agree in the settings of extras and of logs. Rules as in `rules`."""

import os
from collections.abc import Callable

from gateway.settings import forms
from gateway.settings.draft import Draft
from gateway.settings.masking import shown


def a_country_is_allowed_or_denied(draft: Draft) -> None:
    lists = {
        name: [draft.read(forms.country, "geo", name, number) for number in draft.numbers("geo", name)]
        for name in ("allow", "deny")
    }
    for number, country in enumerate(lists["deny"]):
        if country is not None and country in lists["allow"]:
            draft.report.add(("geo", "deny", number), f"{country} is in `allow` as well; write it once")


def letters_say_what_notices_tell(draft: Draft) -> None:
    if draft.given("mail") and not any(draft.given(name) for name in ("notices", "licences", "alerts")):
        words = "what is written is what `notices` and `alerts` tell, and codes for `licences`; add one of them"
        draft.report.add(("mail",), words, at_key=True)


def letters_travel_sealed(draft: Draft) -> None:
    host, path = draft.read(forms.host_name, "mail", "host"), ("mail", "starttls")
    if host and draft.given(*path) and not draft.truth(*path) and not forms.is_loopback(host):
        draft.report.add(path, "letters must not travel in the clear; remove this, or have a server on this machine")


def who_logs_in_for_mail_has_both(draft: Draft) -> None:
    for name, other in (("user", "password"), ("password", "user")):
        if draft.given("mail", name) and not draft.given("mail", other):
            draft.report.add(("mail", name), f"a login needs `{other}` as well")


def only_a_file_is_put_aside(draft: Draft) -> None:
    for name in ("rotate_size", "rotate_daily", "keep_days"):
        if draft.given("log", name) and not draft.given("log", "file"):
            words = "it is about `log.file`, which is not set; journald and containers put logs aside by themselves"
            draft.report.add(("log", name), words)


def a_log_file_has_a_folder(draft: Draft) -> None:
    text = draft.text("log", "file")
    if not text:
        return
    path = draft.base / text
    if os.path.isdir(path):
        draft.report.add(("log", "file"), f"{shown(path)} is a folder; write the path of a file")
    elif not os.path.isdir(path.parent):
        draft.report.add(("log", "file"), f"there is no folder {shown(path.parent)}; make it first")


def what_is_sampled_says_so(draft: Draft) -> None:
    if draft.given("log", "sample_one_in") and draft.text("log", "requests") != "sampled":
        draft.report.add(("log", "sample_one_in"), "it is about `requests: sampled`; add that")


ALL: tuple[Callable[[Draft], None], ...] = (
    a_country_is_allowed_or_denied,
    letters_say_what_notices_tell,
    letters_travel_sealed,
    who_logs_in_for_mail_has_both,
    only_a_file_is_put_aside,
    a_log_file_has_a_folder,
    what_is_sampled_says_so,
)
