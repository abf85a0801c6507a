"""Settings of alerts."""

from pathlib import Path
from typing import Any

import pytest

from gateway.settings import Settings
from tests.settings.asking import full, mistakes, only, settings

SECRET = "Zq3TzL8wN5vR2xK7mB4yH9cJ6dF1gS0pq"
URL = "https://pager.example/told"
MAIL = {"host": "mail.shop.example", "sender": "shop@shop.example"}


def made(folder: Path, **alerts: Any) -> Settings:
    return settings(folder, full(alerts=alerts, mail=MAIL))


def test_what_is_watched_and_told_without_a_word(tmp_path: Path) -> None:
    alerts = settings(tmp_path, full()).alerts
    assert (alerts.tells, alerts.every_seconds, alerts.ends_ms, alerts.audit_seconds) == (False, 30, 900_000, 86_400)
    limits = alerts.thresholds
    assert (limits.webhook_signatures.amount, limits.webhook_signatures.seconds) == (5, 600)
    assert (limits.spend_least, limits.unwatched, limits.disk_bytes) == (2_000_000, frozenset(), 2**30)
    assert settings(
        tmp_path, full(currency="jpy", stripe={"top_up": "500 jpy"}, routes=[])
    ).alerts.thresholds.spend_least == (200_000_000)


def test_who_is_told(tmp_path: Path) -> None:
    assert made(tmp_path, url=URL, secrets=[SECRET]).alerts.tells
    alerts = made(
        tmp_path, mail_to=["a@shop.example", "a@shop.example"], unwatched=["disk_low"], spend_min="0.50 usd"
    ).alerts
    assert (alerts.tells, alerts.mail_to, alerts.thresholds.spend_least) == (True, ("a@shop.example",), 500_000)
    assert alerts.thresholds.unwatched == {"disk_low"}
    inside = made(tmp_path, url="http://127.0.0.1:9/told", secrets=[SECRET], private_addresses=True)
    assert inside.alerts.url == "http://127.0.0.1:9/told"


@pytest.mark.parametrize(
    ("alerts", "path", "words"),
    [
        ({"url": "http://pager.example/told", "secrets": [SECRET]}, "alerts.url", "must not travel in the clear"),
        ({"url": "https://10.0.0.7/told", "secrets": [SECRET]}, "alerts.url", "no address of the internet"),
        ({"url": URL}, "alerts.url", "messages are signed; add `secrets`"),
        ({"spend_min": "1.00 eur"}, "alerts.spend_min", "this is in eur"),
        ({"ends_after": "50s"}, "alerts.ends_after", "two rounds"),
        ({"unwatched": ["disk_low", "disc_low"]}, "alerts.unwatched[1]", "disk_low"),
        ({"dispute_bps": 10_001}, "alerts.dispute_bps", "10000"),
        ({"webhook_signatures": "many"}, "alerts.webhook_signatures", "is not a limit"),
        ({"mail_to": ["nobody"]}, "alerts.mail_to[0]", "nobody"),
        ({"spend_factor": 1}, "alerts.spend_factor", "2"),
        ({"licence_device": 3}, "alerts.licence_device", "licence_devices"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, alerts: dict[str, Any], path: str, words: str) -> None:
    found = only(mistakes(tmp_path, full(alerts=alerts, mail=MAIL)))
    assert found.path == path
    assert words in found.words


def test_e_mail_needs_a_mail_server(tmp_path: Path) -> None:
    found = only(mistakes(tmp_path, full(alerts={"mail_to": ["a@shop.example"]})))
    assert (found.path, "add `mail`" in found.words) == ("alerts.mail_to", True)
