"""The configuration: one YAML file and the environment in, frozen values out, or every mistake at once.

    settings = load(Path("config/gateway.yaml"), os.environ, make_secrets=True)

The way of a setting, one file each:

- `reading` parses the YAML into a tree in which everything knows its line and column (`nodes`, `source`);
- `environment` replaces `${NAME}` and lays `GATEWAY_…` variables over it;
- `price_lists` lays prices in that have a file of their own, and `own_routes` what owners write of their routes;
- `checking` holds the tree against the `shape`, in which each setting is described, made of `texts` that have `forms`;
- `rules` and `keys` compare settings with one another, on a `draft` that passes over what is wrong already;
- `secret_files` reads, or makes at the first start, the secrets that no setting gives;
- `building` turns the checked shape into `values`; `remarks` says what is allowed but worth a word.

What concerns the relay has forms and rules of its own, `relay_forms` and `relay_rules`; all about limits
is in `limiting`, and what is made of outside providers and of CORS in `identifying` and `identity_rules`,
of OAuth in `authorizing` and `oauth_rules`, of alerts in `alerting`.

Mistakes are gathered on the way in a report (`mistakes`), which never shows a secret (`masking`), and raised together
at the end (`invalid`). Secrets are made last, when all else is right, so that a mistake leaves nothing behind.

`loading` goes that way. All of it weighs 14 MiB and is needed for half a second; so who serves has another process go
it, see `apart`, and nothing but values is imported here before somebody asks for more.
"""

import importlib
from typing import TYPE_CHECKING, Any, Final

from gateway.settings.invalid import Mistake, SettingsInvalid
from gateway.settings.values import (
    CallerTimeouts,
    LimitSettings,
    Listener,
    LogSettings,
    MailSettings,
    OwnerSettings,
    OwnRoutesSettings,
    PayoutSettings,
    SecretSettings,
    Settings,
    StripeSettings,
    TlsSettings,
    TokenSettings,
    UnixSocket,
)

if TYPE_CHECKING:
    from gateway.settings.environment import IGNORED
    from gateway.settings.loading import from_mapping, load
    from gateway.settings.remarks import notes

__all__ = [
    "IGNORED",
    "CallerTimeouts",
    "LimitSettings",
    "Listener",
    "LogSettings",
    "MailSettings",
    "Mistake",
    "OwnRoutesSettings",
    "OwnerSettings",
    "PayoutSettings",
    "SecretSettings",
    "Settings",
    "SettingsInvalid",
    "StripeSettings",
    "TlsSettings",
    "TokenSettings",
    "UnixSocket",
    "from_mapping",
    "load",
    "notes",
]
_ROOMS: Final = {
    "IGNORED": "environment",
    "from_mapping": "loading",
    "load": "loading",
    "notes": "remarks",
}


def __getattr__(name: str) -> Any:
    """Imported when it is asked for, see PEP 562."""
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_ROOMS[name]}"), name)
