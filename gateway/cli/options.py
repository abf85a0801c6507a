"""Options that nearly every command has."""

from pathlib import Path

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
