"""What operators ask of the gateway that runs: `show`, a link to their pages, completion; and how all commands are."""

import asyncio
import json
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from aiohttp import ClientSession

from gateway.cli import main
from gateway.cli.desk import SHELLS, SHOWN
from tests import leaks, programs
from tests.gateway_process import running, write_config
from tests.ports import own_port

README = (Path(__file__).parents[2] / "README.md").read_text()
NOT_JSON = {"run", "demo", "stand-in", "completion", "config schema", "config reference", "incident plan"}
"""Which print a text that they are asked for, or run until they are told to end."""


COMMAND = Path(__file__).parents[2] / ".venv" / "bin" / "gateway"


def commands(group: click.Group = main, name: str = "") -> Iterator[tuple[str, click.Command]]:
    for word, command in group.commands.items():
        whole = f"{name} {word}".strip()
        if isinstance(command, click.Group):
            yield from commands(command, whole)
        else:
            yield whole, command


def test_every_command_prints_json_that_does_not_print_something_else() -> None:
    without = {name for name, command in commands() if not any("--json" in one.opts for one in command.params)}
    assert without == NOT_JSON


def test_every_command_and_every_exit_code_stands_in_the_readme() -> None:
    table = README.partition("\n## The operator's commands\n")[2].partition("\n### ")[0]
    missing = [name for name, _ in commands() if not re.search(rf"`(gateway )?({name}|{name.split()[-1]})\b", table)]
    assert missing == []
    assert re.findall(r"\b(\d) (?:done|the answer|the command|it)", table) == ["0", "1", "2", "3"]


def test_each_exit_code_is_what_the_readme_says(tmp_path: Path) -> None:
    config = tmp_path / "gateway.yaml"
    write_config(tmp_path, "http://127.0.0.1:1")
    for made in (tmp_path / "secrets").glob("operator_token"):
        made.unlink()
    assert programs.run("check", "--config", str(config)).returncode == 0
    assert programs.run("health", "--config", str(config)).returncode == 1
    assert programs.run("show", "nothing", "--config", str(config)).returncode == 2
    assert programs.run("operator", "link", "--config", str(config)).returncode == 3
    config.write_text("version: 1\n" + "listen: nowhere\n")
    assert programs.run("show", "now", "--config", str(config)).returncode == 2


async def printed_link(config: Path) -> str:
    """What the first start says before it listens; then it is stopped."""
    pipe, environ = asyncio.subprocess.PIPE, {"GATEWAY_LOG__FILE": str(leaks.log_of())}
    process = await asyncio.create_subprocess_exec(COMMAND, "run", "--config", config, stderr=pipe, env=environ)
    assert process.stderr is not None
    said = ""
    while "listening on" not in said:
        line = await process.stderr.readline()
        assert line, said
        said += line.decode()
    process.terminate()
    assert await process.wait() == 0
    link = re.search(r"http://\S+link=\S+", said)
    assert link is not None, said
    return link[0]


@pytest.mark.parametrize("workers", [1, 2])
async def test_the_first_start_prints_a_link_and_commands_show_what_the_pages_do(tmp_path: Path, workers: int) -> None:
    admin, file = own_port(), tmp_path / "gateway.yaml"
    listen = f"127.0.0.1:{own_port()}"
    upstreams = {"toy": {"url": "http://127.0.0.1:1"}}
    routes = [{"name": "free", "match": "/free/", "upstream": "toy", "price": "free"}]
    config = {"version": 1, "listen": listen, "admin": f"127.0.0.1:{admin}", "workers": workers, "upstreams": upstreams}
    file.write_text(json.dumps({**config, "store": f"sqlite:{tmp_path}/gateway.db", "routes": routes}))
    link = await printed_link(file)
    async with running(file) as first, ClientSession() as session:
        assert "link=" not in first.said, "the token may be known by now"
        async with session.get(link) as answer:
            assert (answer.status, "This link signs you in once" in await answer.text()) == (200, True)
        for what in SHOWN:
            done = programs.run("show", what, "--config", str(file), "--json")
            assert done.returncode == 0, done.stderr
            told = json.loads(done.stdout)
            lines = programs.run("show", what, "--config", str(file)).stdout.splitlines()
            assert lines
            assert all(": " in line for line in lines)
            if what == "workers":
                assert (told["there"], told["wanted"], told["same_version"]) == (workers, workers, True)
                assert len(told["processes"]) == (workers if workers == 1 else workers + 1), "and the keeper"
        link_again = json.loads(programs.run("operator", "link", "--config", str(file), "--json").stdout)["link"]
        assert link_again.startswith(f"http://127.0.0.1:{admin}/-/operator/enter?link=")
        assert link_again != link
        assert await first.stop() == 0
    assert programs.run("show", "now", "--config", str(file)).returncode == 3, "nobody is there"
    assert "/-/operator/" in programs.run("operator", "link", "--config", str(file)).stdout


@pytest.mark.parametrize("workers", [1, 2])
def test_a_first_start_that_fails_says_how_the_link_is_had(tmp_path: Path, workers: int) -> None:
    settings, file = write_config(tmp_path, "http://127.0.0.1:1", workers=workers), tmp_path / "gateway.yaml"
    token = tmp_path / "secrets" / "operator_token"
    token.unlink()
    with socket.create_server(settings.admin):
        first = programs.run("run", "--config", str(file))
        os.utime(token, (0, 0))  # it was made a while ago
        second = programs.run("run", "--config", str(file))
    assert (first.returncode, second.returncode) == (3, 3)
    assert "`gateway operator link` prints a link that opens your pages" in first.stderr
    assert "link" not in second.stderr, "the token may be known by now"


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_is_told_how_to_complete(shell: str) -> None:
    done = programs.run("completion", shell)
    assert done.returncode == 0, done.stderr
    assert "_GATEWAY_COMPLETE" in done.stdout


def test_a_word_is_completed_by_the_command_itself() -> None:
    asked = {"_GATEWAY_COMPLETE": "bash_complete", "COMP_WORDS": "gateway payo", "COMP_CWORD": "1"}
    done = subprocess.run([COMMAND], env=asked, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "plain,payouts"
