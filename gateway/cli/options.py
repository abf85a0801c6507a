"""Options that nearly every command has."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

CONFIG_DEFAULT = Path("config/gateway.yaml")

config_option = click.option(
    "--config",
    "config",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="GATEWAY_CONFIG",
    default=CONFIG_DEFAULT,
    show_default=True,
    help="The configuration file.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


def form_option(json_form: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """`--format`, CSV by default, or what programs read; `--json` is the same, as everywhere. Gives `form`."""

    def adds(command: Callable[..., None]) -> Callable[..., None]:
        @json_option
        @click.option("--format", "form", type=click.Choice(["csv", json_form]), default="csv", show_default=True)
        @wraps(command)
        def called(*, form: str, as_json: bool, **given: Any) -> None:
            command(form=json_form if as_json else form, **given)

        return called

    return adds
