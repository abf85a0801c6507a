"""What becomes of the settings of alerts, and what must agree in them. Rules as in `rules`."""

from collections.abc import Callable

from gateway.core.alerts import Thresholds
from gateway.core.money import Money, minor_decimals
from gateway.settings import forms
from gateway.settings.draft import Draft
from gateway.settings.shapes import GatewayShape
from gateway.settings.values import AlertSettings

_LEAST = {0: 200, 2: 2, 3: 2}


def alerts(shape: GatewayShape) -> AlertSettings:
    given = shape.alerts
    usual = Money.parse(f"{_LEAST[minor_decimals(shape.currency)]} {shape.currency}")
    least = forms.amount(given.spend_min) if given.spend_min else usual
    return AlertSettings(
        url=given.url,
        secrets=tuple(given.secrets),
        private_addresses=given.private_addresses,
        mail_to=tuple(dict.fromkeys(given.mail_to)),
        every_seconds=forms.duration(given.every),
        remind_ms=_ms(given.remind_after),
        ends_ms=_ms(given.ends_after),
        thresholds=Thresholds(
            webhook_signatures=forms.rate(given.webhook_signatures),
            guessed_tokens=forms.rate(given.guessed_tokens),
            cards_refused=forms.rate(given.cards_refused),
            refunds=forms.rate(given.refunds),
            dispute_bps=given.dispute_bps,
            disputes_least=given.disputes_min,
            surge_least=given.surge_min,
            surge_factor=given.surge_factor,
            payments_least=given.payments_min,
            account_payments=forms.rate(given.account_payments),
            spend_least=least.micros,
            spend_factor=given.spend_factor,
            outbox_ms=_ms(given.outbox_behind),
            returned_ms=_ms(given.returned_behind),
            reconciled_ms=_ms(given.reconciler_behind),
            devices=given.licence_devices,
            disk_bytes=forms.body_size(given.disk_free_min),
            certificate_days=forms.days(given.certificate_left),
            unwatched=frozenset(given.unwatched),
        ),
        audit_seconds=forms.duration(given.audit_every),
    )


def _ms(text: str) -> int:
    return int(forms.duration(text) * 1000)


def alerts_leave_sealed_and_signed(draft: Draft) -> None:
    url = draft.read(forms.endpoint, "alerts", "url")
    if url and not draft.truth("alerts", "private_addresses"):
        if url.startswith("http://"):
            words = "what is told of alerts must not travel in the clear; write https://, or private_addresses: true"
            draft.report.add(("alerts", "url"), words)
        elif forms.is_private(url):
            draft.report.add(("alerts", "url"), "this is no address of the internet; see private_addresses")
    if draft.given("alerts", "url") and not draft.numbers("alerts", "secrets"):
        draft.report.add(("alerts", "url"), "messages are signed; add `secrets`")


def who_is_written_to_has_a_mail_server(draft: Draft) -> None:
    if draft.numbers("alerts", "mail_to") and not draft.given("mail"):
        draft.report.add(("alerts", "mail_to"), "e-mail needs your mail server; add `mail`", at_key=True)


def what_is_worth_a_word_is_of_our_currency(draft: Draft) -> None:
    currency, path = draft.read(forms.currency, "currency"), ("alerts", "spend_min")
    amount = draft.read(forms.amount, *path)
    if amount is not None and currency and amount.currency != currency:
        draft.report.add(path, f"this is in {amount.currency}, but `currency` is {currency}")


def alerts_outlast_a_round(draft: Draft) -> None:
    every, ends = (draft.read(forms.duration, "alerts", name) for name in ("every", "ends_after"))
    if every is not None and ends is not None and ends < 2 * every:
        words = "this must be two rounds (`alerts.every`) at least, or alerts would end between them"
        draft.report.add(("alerts", "ends_after"), words)


ALL: tuple[Callable[[Draft], None], ...] = (
    alerts_leave_sealed_and_signed,
    who_is_written_to_has_a_mail_server,
    what_is_worth_a_word_is_of_our_currency,
    alerts_outlast_a_round,
)
