"""What the tests of the settings share: a configuration that is right, and ways to spoil it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.core import jwt_keys
from gateway.settings import Mistake, Settings, SettingsInvalid, from_mapping, load

STRIPE_KEY = "sk_test_51Nq8JkLmPzRtVwXyAbCdEf"
LIVE_KEY = "sk_live_51Nq8JkLmPzRtVwXyAbCdEf"
WEBHOOK_SECRET = "whsec_9fK2mQ7xTzB4nH8vLc3YpR6s"
OLDER_WEBHOOK_SECRET = "whsec_4dG7jW1uSaE5oI0zMb6XqN9t"
SEALING_KEY = "b3f1c0a97e5d4286910fedc8ba7654321"
PEPPER = "0c9d8e7f6a5b4c3d2e1f0a9b8c7d6e5f"
OPERATOR_TOKEN = "Zq3TzL8wN5vR2xK7mB4yH9cJ6dF1gS0p"
PAIR = json.dumps(jwt_keys.new_pem())
SECRETS = (STRIPE_KEY, WEBHOOK_SECRET, OLDER_WEBHOOK_SECRET, SEALING_KEY, PEPPER, OPERATOR_TOKEN)

FULL = f"""\
version: 1
mode: test
listen: 127.0.0.1:8402
admin: 127.0.0.1:8403
public_url: http://127.0.0.1:8402
store: sqlite:./data/gateway.db
currency: usd
stripe:
  secret_key: "{STRIPE_KEY}"
  webhook_secrets:
    - {WEBHOOK_SECRET}
    - "{OLDER_WEBHOOK_SECRET}"
  top_up: "5.00 usd"
secrets: {{sealing_keys: ["{SEALING_KEY}"], peppers: [{PEPPER}], operator_token: {OPERATOR_TOKEN}, jwt_keys: {PAIR}}}
tokens: {{header: Authorization, cookie: gateway_token}}
upstreams:
  weather: {{url: http://127.0.0.1:9001, connect_timeout: 5s, connections: 256}}
routes:
  - {{name: weather, match: /weather/, upstream: weather, strip_prefix: true, price: "0.002 usd", limit: 100/minute}}
  - name: status
    match: /status/
    upstream: weather
    price: free
limits: {{request_body_max: 100 MiB}}
log: {{format: auto, level: info}}
"""


def full(**changes: Any) -> dict[str, Any]:
    """The values of FULL; a change of a section is laid over it, None takes a setting out."""
    values: dict[str, Any] = yaml.safe_load(FULL)
    for name, value in changes.items():
        if value is None:
            values.pop(name, None)
        elif isinstance(value, dict) and isinstance(values.get(name), dict):
            merged = {**values[name], **value}
            values[name] = {key: below for key, below in merged.items() if below is not None}
        else:
            values[name] = value
    return values


def route(**changes: Any) -> dict[str, Any]:
    """A right route to the upstream `weather`; None takes a setting out."""
    values = {"name": "weather", "match": "/weather/", "upstream": "weather", "price": "0.002 usd", **changes}
    return {key: value for key, value in values.items() if value is not None}


def settings(base: Path, values: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    return from_mapping(full() if values is None else values, base=base, environ=environ, make_secrets=False)


def mistakes(
    base: Path, values: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None
) -> list[Mistake]:
    """What is wrong with these values; fails if nothing is."""
    with pytest.raises(SettingsInvalid) as raised:
        settings(base, values, environ)
    return list(raised.value.mistakes)


def only(found: list[Mistake]) -> Mistake:
    assert len(found) == 1, "\n".join(map(str, found))
    return found[0]


def mistakes_in(text: str | bytes, base: Path, environ: Mapping[str, str] | None = None) -> list[Mistake]:
    """What is wrong with a file of this text, which is called `gateway.yaml` in the mistakes."""
    file = base / "gateway.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SettingsInvalid) as raised:
        load(file, environ or {}, make_secrets=False)
    return [
        Mistake(mistake.where.replace(str(file), "gateway.yaml"), mistake.path, mistake.words, mistake.excerpt)
        for mistake in raised.value.mistakes
    ]
