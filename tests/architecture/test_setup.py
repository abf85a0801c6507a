"""The set-up script on machines that lack something: it says what mends it and leaves nothing half made."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ("cat", "dirname", "rm", "sh", "touch")


class Machine:
    """A folder of commands that is the whole PATH, and a copy of the project's set-up files."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.project = folder / "project"
        self.bin.mkdir()
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found is not None
            (self.bin / tool).symlink_to(found)
        shutil.copytree(ROOT / ".ci", self.project / ".ci")
        shutil.copytree(ROOT / ".requirements", self.project / ".requirements")

    def command(self, name: str, script: str) -> None:
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def set_up(self) -> subprocess.CompletedProcess[str]:
        environ = {"PATH": str(self.bin), "HOME": str(self.project)}
        return subprocess.run(
            [str(self.project / ".ci/venv"), "run"],
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @property
    def half_made(self) -> bool:
        return (self.project / ".venv").exists() or (self.project / ".venv.log").exists()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_without_any_python_it_says_how_to_get_one(machine: Machine) -> None:
    result = machine.set_up()
    assert result.returncode == 1
    assert "sudo apt-get install python3 python3-venv" in result.stderr
    assert not machine.half_made


def test_an_interpreter_that_exists_and_fails_is_passed_over(machine: Machine) -> None:
    machine.command("python3", "echo 'pyenv: no version is set' >&2; exit 127")
    machine.command("uv", "exit 1")
    machine.command("python3.12", f'case "$*" in *venv*) echo chosen >&2; exit 3;; esac; exec {sys.executable} "$@"')
    result = machine.set_up()
    assert result.returncode == 1
    assert "No Python of version" not in result.stderr
    assert not machine.half_made


def test_an_interpreter_that_is_too_old_is_passed_over(machine: Machine) -> None:
    machine.command("python3", "exit 1")
    assert "No Python of version 3.11 or newer" in machine.set_up().stderr


def test_without_the_venv_package_it_names_the_one_that_mends_it(machine: Machine) -> None:
    machine.command(
        "python3",
        'case "$*" in *"-m venv"*) "$(dirname "$0")/mkdir" -p .venv; exit 1;; *ensurepip*) exit 1;; esac\n'
        f'exec {sys.executable} "$@"',
    )
    os.symlink(str(shutil.which("mkdir")), machine.bin / "mkdir")
    result = machine.set_up()
    assert result.returncode == 1
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert f"sudo apt-get install python{version}-venv" in result.stderr
    assert not machine.half_made


def test_make_alone_prints_help() -> None:
    shown = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True).stdout
    for target in ("demo", "test", "check", "bench", "torture"):
        assert f"make {target} " in shown
