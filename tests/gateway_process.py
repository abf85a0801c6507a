"""A real `gateway run` in a process of its own, which a test may kill."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from gateway import settings as configuration
from gateway.adapters.sqlite.ledger import SqliteLedgerStore
from gateway.adapters.system import SystemClock, SystemRandomness
from gateway.cli.books import head_keys
from gateway.core.keyring import Keyring
from gateway.core.ledger import Credit
from gateway.core.money import Money
from gateway.core.tokens import TokenMint
from gateway.flows.keep import Keeper, Pace
from gateway.settings import Settings
from tests import leaks, programs
from tests.callers import Funded
from tests.ports import own_port

START_SECONDS_MAX = 60.0

PROMISED, PATIENT = "1s", "30s"
"""How long an answer waits for the disk: as shipped, and where a busy machine's pauses are not what a test is about."""


def patiently(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """These settings, where a busy machine's pauses are not what a test is about."""
    return {**overrides, "timeouts": {"ledger": PATIENT, **overrides.get("timeouts", {})}}


def write_config(
    folder: Path,
    upstream: str,
    *,
    price: object = "0.002 usd",
    workers: int = 1,
    ledger: str = PATIENT,
    **route: object,
) -> Settings:
    """A configuration with one priced and one free route, its secrets made."""
    port = own_port()
    config = {
        "version": 1,
        "mode": "test",
        "listen": f"127.0.0.1:{port}",
        "admin": f"127.0.0.1:{own_port()}",
        "public_url": f"http://127.0.0.1:{port}",
        "store": f"sqlite:{folder}/gateway.db",
        "currency": "usd",
        "workers": workers,
        "timeouts": {"ledger": ledger},
        "upstreams": {"toy": {"url": upstream, "connections": 1000 * workers}},  # uneven shares are no reason for a 503
        "routes": [
            {"name": "paid", "match": "/paid/", "upstream": "toy", "strip_prefix": True, "price": price, **route},
            {"name": "free", "match": "/free/", "upstream": "toy", "strip_prefix": True, "price": "free"},
        ],
    }
    file = folder / "gateway.yaml"
    file.write_text(json.dumps(config, indent=2))  # JSON is YAML, and quotes its texts
    return configuration.load(file, {}, make_secrets=True)


async def fund(settings: Settings, amount: str, *, count: int) -> list[Funded]:
    """Callers with money, while no gateway runs."""
    mint, clock, randomness = (
        TokenMint(Keyring(settings.secrets.sealing_keys), "test"),
        SystemClock(),
        SystemRandomness(),
    )
    made = []
    for _ in range(count):
        token = mint.mint(now_ms=clock.now_ms(), random=randomness.bytes(12)).reveal()
        genuine = mint.recognise(token)
        assert genuine is not None
        made.append(Funded(token, genuine.account))
    store = SqliteLedgerStore(settings.store_path, head_key=head_keys(settings)[0])
    keeper = Keeper(store, clock, pace=Pace.patient(60))
    await keeper.open()
    money = Money.parse_grant(amount)
    await asyncio.gather(
        *(keeper.credit(Credit(f"manual:{one.account}", one.account, money, "manual", "for a test")) for one in made)
    )
    await keeper.close()
    return made


class GatewayProcess:
    """One run of `gateway run`."""

    def __init__(self, process: asyncio.subprocess.Process | programs.Forked, said: str = "") -> None:
        self._process = process
        self.said = said
        """Before it listened."""

    @property
    def pid(self) -> int:
        return self._process.pid

    async def kill(self) -> None:
        """kill -9, of all its processes."""
        os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()

    async def ended(self) -> int:
        """Wait for its end; the exit code."""
        return await self._process.wait()

    def keeper(self) -> int:
        """The pid of the process that keeps the books. Raises ValueError while there is none."""
        [pid] = self._called("gateway-keeper")
        return pid

    def worker(self, slot: int) -> int:
        """The pid of the worker in this slot."""
        [pid] = self._called(f"gateway-w{slot}")
        return pid

    def workers(self) -> list[int]:
        """The pids of the workers, those that are leaving among them."""
        return self._called("gateway-w")

    def _called(self, name: str) -> list[int]:
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                comm = (folder / "comm").read_text()
            except OSError:
                continue  # it has just ended
            if int(fields[2]) == self._process.pid and fields[0] != "Z" and comm.startswith(name):
                found.append(int(folder.name))
        return sorted(found)

    async def stop(self) -> int:
        """SIGTERM; the exit code."""
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        return await self._process.wait()


@asynccontextmanager
async def running(
    config: Path,
    *,
    files_max: int | None = None,
    environ: Mapping[str, str] | None = None,
    program: Sequence[str] = ("gateway",),
) -> AsyncIterator[GatewayProcess]:
    """Start it and wait until it says that it listens; end it in any case. `files_max`: as `ulimit -n` has it."""
    hears, says = os.pipe()
    log = leaks.log_of()
    _note_secrets(log, config, environ or {})
    environ = {"GATEWAY_LOG__FILE": str(log), **(environ or {})}
    process = await _started(program, ("run", "--config", str(config)), says, environ, files_max)
    os.close(says)
    said, drained = asyncio.StreamReader(), None
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(said), os.fdopen(hears, "rb", 0))
    try:
        async with asyncio.timeout(START_SECONDS_MAX):
            before = b""
            while b"listening on" not in (line := await said.readline()):
                before += line
                assert line, f"the gateway did not start: {before.decode()}"
        drained = asyncio.create_task(said.read())
        yield GatewayProcess(process, before.decode())
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        if drained is not None:
            log.with_suffix(".log.stderr").write_bytes(before + await drained)
        transport.close()


def _note_secrets(log: Path, config: Path, environ: Mapping[str, str]) -> None:
    """As far as the settings can be read from here; whoever tests that they cannot be has no log to speak of."""
    with suppress(configuration.SettingsInvalid):
        leaks.note(log, configuration.load(config, {**os.environ, **environ}, make_secrets=False))


async def _started(
    program: Sequence[str], words: Sequence[str], err: int, environ: Mapping[str, str], files_max: int | None
) -> asyncio.subprocess.Process | programs.Forked:
    if files_max is None and "LD_PRELOAD" not in environ:
        return programs.start(*words, err=err, program=program, environ=environ)
    limited = ["bash", "-c", f'ulimit -n {files_max}; exec "$@"', "bash"] if files_max else []
    return await asyncio.create_subprocess_exec(
        *limited, sys.executable, "-m", *program, *words,
        stdout=subprocess.DEVNULL, stderr=err, env={**os.environ, **environ}, start_new_session=True,
    )  # fmt: skip
