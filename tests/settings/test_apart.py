"""A configuration that another process has read is the same as one read here, and so are its mistakes."""

import errno
import os
import re
import subprocess
import threading
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import Any

import pytest

from gateway.core.routes import NO_RULES
from gateway.core.secrets import Secret
from gateway.settings import SettingsInvalid, apart, load
from tests.settings.asking import FULL, SECRETS
from tests.settings.test_examples import ENVIRON, EXAMPLES

LEAVES = (str, bytes, int, float, bool, type(None), re.Pattern, Path)


def plainly(value: Any) -> Any:
    """Everything that it holds, so that it can be compared: secrets, too."""
    if isinstance(value, LEAVES):
        return value
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, Mapping):
        return {plainly(name): plainly(one) for name, one in value.items()}
    if isinstance(value, Set):
        return sorted(map(str, value))
    if isinstance(value, list | tuple):
        return tuple(map(plainly, value))
    names = {name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())}
    names |= set(getattr(value, "__dict__", ()))
    kept = {name: plainly(getattr(value, name)) for name in names if hasattr(value, name)}
    return (type(value).__name__, kept or str(value))


@pytest.fixture(params=["forked", "started"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """With a thread besides, another Python is started."""
    if request.param == "forked":
        monkeypatch.setattr(threading, "active_count", lambda: 1)
        yield
        return
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    yield
    over.set()
    thread.join()


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("example", [None, *EXAMPLES], ids=lambda path: path.stem if path else "full")
def test_its_values_are_those_that_are_read_here(
    example: Path | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tls").mkdir()
    for name in ("fullchain.pem", "privkey.pem"):
        (tmp_path / "tls" / name).write_text("stands for a certificate")
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    file = example or tmp_path / "gateway.yaml"
    if example is None:
        file.write_text(FULL)
    here, there = load(file, os.environ, make_secrets=True), apart.load(file, make_secrets=False)
    assert plainly(there) == plainly(here)
    assert there.secrets.sealing_keys[0].reveal(), "or nothing was compared"
    for mine, theirs in zip(here.routes.routes, there.routes.routes, strict=True):
        assert hash(mine.tariff) == hash(theirs.tariff), "a text has another hash in another process"
        assert (mine.request_fields is NO_RULES) == (theirs.request_fields is NO_RULES)
    if example is None:
        assert there.routes.routes[0].answer_fields is NO_RULES, "most routes change no field: the fast way"


@pytest.mark.usefixtures("way")
def test_mistakes_come_as_they_are_and_without_secrets(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(FULL.replace("version: 1", "version: 7").replace("mode: test", "mode: fast"))
    with pytest.raises(SettingsInvalid) as here:
        load(file, os.environ, make_secrets=False)
    with pytest.raises(SettingsInvalid) as there:
        apart.load(file, make_secrets=False)
    assert there.value.mistakes == here.value.mistakes
    assert not any(secret in str(there.value) for secret in SECRETS)


@pytest.mark.usefixtures("way")
def test_a_text_is_read_instead_of_an_owners_file(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(FULL + "owners: {anna: {routes: {upstreams: [weather]}}}\n")
    with pytest.raises(SettingsInvalid, match=r"anna\.yaml"):
        apart.load(file, make_secrets=False, instead={"anna": "routes: 7\n"})


@pytest.mark.usefixtures("way")
def test_who_reads_for_too_long_is_ended_and_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "SECONDS_MAX", 0.05)
    os.mkfifo(tmp_path / "gateway.yaml")  # nobody writes into it
    with pytest.raises(SettingsInvalid, match="ended with -9"):
        apart.load(tmp_path / "gateway.yaml", make_secrets=False)


@pytest.mark.usefixtures("way")
def test_where_no_process_can_be_had_nothing_is_said_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: Any, **__: Any) -> int:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", none)
    monkeypatch.setattr(subprocess, "Popen", none)
    opened = len(os.listdir("/proc/self/fd"))
    with pytest.raises(SettingsInvalid, match=r"could not be read, right or wrong; .*temporarily unavailable"):
        apart.load(tmp_path / "gateway.yaml", make_secrets=False)
    assert len(os.listdir("/proc/self/fd")) == opened


def test_a_secret_still_goes_nowhere_else() -> None:
    with pytest.raises(TypeError, match="not to be pickled"):
        Secret("x").__reduce__()
