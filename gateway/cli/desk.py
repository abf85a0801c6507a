"""What operators ask the gateway that runs: `show` of what their pages show, a link to these, and shell completion.

The commands are made here and hung below `gateway` by `gateway/cli/__init__.py`, so that a shell that completes a word
imports nothing but click.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Option = Callable[[Any], Any]
SHOWN = ("now", "money", "webhooks", "upstreams", "workers")
SHELLS = ("bash", "zsh", "fish")


def add_commands(main: click.Group, config_option: Option, json_option: Option) -> None:
    """Below `gateway`."""

    @main.command()
    @click.argument("what", type=click.Choice(SHOWN))
    @config_option
    @json_option
    def show(what: str, config: Path, as_json: bool) -> None:
        """What happens now, where the money is, and how webhooks, upstreams and workers stand, as the pages show it."""
        from gateway.cli.shown import show_what

        show_what(config, what, as_json=as_json)

    @main.group()
    def operator() -> None:
        """Operators and their pages."""

    @operator.command("link")
    @config_option
    @json_option
    def link(config: Path, as_json: bool) -> None:
        """A link that opens the operators' pages: once, and within 15 minutes."""
        from gateway.cli.shown import print_link

        print_link(config, as_json=as_json)

    @main.command()
    @click.argument("shell", type=click.Choice(SHELLS))
    def completion(shell: str) -> None:
        """Print what makes a shell complete words of this command."""
        from click.shell_completion import get_completion_class

        kind = get_completion_class(shell)
        assert kind is not None
        click.echo(kind(main, {}, "gateway", "_GATEWAY_COMPLETE").source())
