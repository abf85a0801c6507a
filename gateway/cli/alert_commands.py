"""`gateway alerts`, as it is typed. What its commands do is in `alerts.py`, which is loaded when one runs."""

from pathlib import Path

import click

from gateway.cli import config_option, json_option


class _Name(click.ParamType):
    """The name of an alert. The names are looked up when one is given."""

    name = "name"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from gateway.core.alerts import NAMES

        if value not in NAMES:
            self.fail(f"{value!r} is no alert; there are {', '.join(NAMES)}", param, ctx)
        return value


class _Time(click.ParamType):
    """So long: `2h`, `30m`, `7d`, or `0`."""

    name = "time"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        units = {"m": 60, "h": 3600, "d": 86_400}
        text = str(value)
        number, unit = (text[:-1], text[-1:]) if text[-1:] in units else (text, "")
        if not number.isdigit() or (not unit and number != "0") or int(number) * units.get(unit, 0) > 30 * 86_400:
            self.fail(f"{text!r}: write so many m, h or d, 30d at most, or 0", param, ctx)
        return float(int(number) * units.get(unit, 0))


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
@click.argument("name", type=_Name())
@click.option("--for", "seconds", type=_Time(), required=True, help="Such as 30m, 2h, 7d; 0 ends it.")
@config_option
@json_option
def mute_alert(name: str, seconds: float, config: Path, as_json: bool) -> None:
    """Have nobody told of alerts of this NAME for a while. They are watched all the same."""
    from gateway.cli.alerts import mute_alert

    mute_alert(config, name, seconds, as_json=as_json)
