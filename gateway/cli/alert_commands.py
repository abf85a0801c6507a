"""`gateway alerts`, as it is typed. What its commands do is in `alerts.py`, which is loaded when one runs."""

import re
from pathlib import Path

import click

from gateway.cli.options import config_option, json_option

_UNITS = {"m": 60, "h": 3600, "d": 86_400}
_SECONDS_MAX = 30 * 86_400


def _known(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """The name of an alert. The names are looked up when one is given."""
    from gateway.core.alerts import NAMES

    if value not in NAMES:
        raise click.BadParameter(f"{value!r} is no alert; there are {', '.join(NAMES)}")
    return value


def _seconds(context: click.Context, parameter: click.Parameter, value: str) -> int:
    """So long: `2h`, `30m`, `7d`, or `0`."""
    found = re.fullmatch(r"([0-9]{1,6})([mhd])|0", value)
    seconds = int(found[1]) * _UNITS[found[2]] if found is not None and found[1] else 0
    if found is None or seconds > _SECONDS_MAX:
        raise click.BadParameter(f"{value!r}: write so many m, h or d, 30d at most, or 0")
    return seconds


@click.group()
def alerts() -> None:
    """What an operator has to know of (the setting `alerts`)."""


@alerts.command("list")
@click.option("--all", "all_of_them", is_flag=True, help="Those that have ended, too.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="The newest so many.")
@config_option
@json_option
def list_alerts(all_of_them: bool, limit: int, config: Path, as_json: bool) -> None:
    """List alerts that are open, and which are muted."""
    from gateway.cli.alerts import list_alerts

    list_alerts(config, all_of_them=all_of_them, limit=limit, as_json=as_json)


@alerts.command("test")
@config_option
@json_option
def test_alerts(config: Path, as_json: bool) -> None:
    """Send a test on every way, and say what became of it."""
    from gateway.cli.alerts import send_test

    send_test(config, as_json=as_json)


@alerts.command("ack")
@click.argument("id")
@config_option
@json_option
def ack_alert(id: str, config: Path, as_json: bool) -> None:
    """Say that somebody looks after an alert (alr_…): nobody is reminded of it."""
    from gateway.cli.alerts import ack_alert

    ack_alert(config, id, as_json=as_json)


@alerts.command("mute")
@click.argument("name", callback=_known)
@click.option("--for", "seconds", required=True, callback=_seconds, help="Such as 30m, 2h, 7d; 0 ends it.")
@config_option
@json_option
def mute_alert(name: str, seconds: int, config: Path, as_json: bool) -> None:
    """Have nobody told of alerts of this NAME for a while. They are watched all the same."""
    from gateway.cli.alerts import mute_alert

    mute_alert(config, name, seconds, as_json=as_json)
