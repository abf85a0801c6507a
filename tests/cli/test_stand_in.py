"""The stand-in for Stripe by itself."""

import json
import urllib.request

import pytest
from click.testing import CliRunner

from gateway.cli import main
from tests import programs
from tests.ports import own_port

KEY, SECRET = "sk_test_" + "1a" * 24, "whsec_" + "2b" * 24


@pytest.mark.parametrize(
    ("url", "key", "secret", "said"),
    [
        ("http://127.0.0.1:8402", "sk_live_" + "1a" * 24, SECRET, "no live key is taken"),
        ("http://127.0.0.1:8402", KEY, "a-secret", "begins with whsec_"),
        ("127.0.0.1:8402", KEY, SECRET, "public_url"),
        ("http://127.0.0.1:8402/-/webhooks", KEY, SECRET, "public_url"),
    ],
)
def test_what_cannot_be_a_gateway_of_mode_test_is_refused(url: str, key: str, secret: str, said: str) -> None:
    done = CliRunner().invoke(main, ["stand-in", url], env={"STRIPE_SECRET_KEY": key, "STRIPE_WEBHOOK_SECRET": secret})
    assert (done.exit_code, said in done.output) == (2, True), done.output
    assert key not in done.output
    assert secret not in done.output


def test_it_answers_to_its_key_until_it_is_told_to_stop() -> None:
    port = own_port()
    environ = {"STRIPE_SECRET_KEY": KEY, "STRIPE_WEBHOOK_SECRET": SECRET}
    with open("/dev/null", "wb") as nothing:
        running = programs.start(
            "stand-in", "http://127.0.0.1:1", "--port", str(port), err=nothing.fileno(), environ=environ
        )
    asked = urllib.request.Request(f"http://127.0.0.1:{port}/v1/events", headers={"Authorization": f"Bearer {KEY}"})
    told = None
    while told is None and not running_has_ended(running):
        try:
            with urllib.request.urlopen(asked) as answer:
                told = json.load(answer)
        except ConnectionError:
            continue
        except OSError:
            continue
    assert told is not None
    assert told["data"] == []
    other = programs.run("stand-in", "http://127.0.0.1:1", "--port", str(port), environ=environ)
    assert other.returncode == 3
    assert "gateway stand-in:" in other.stderr
    running.send_signal(15)
    assert running.end() == 0


def running_has_ended(running: programs.Forked) -> bool:
    return running.returncode is not None
