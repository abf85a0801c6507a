"""The machine and its programs, by name: figures mean nothing without them."""

import os
import platform
import statistics
import time
from importlib.metadata import version
from pathlib import Path

from tests.bench import handmade, nginx

_SYNCS = 50


def describe(home: Path) -> dict[str, str]:
    """What ran where. `home` is the folder whose disk the books are on."""
    program = nginx.program()
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "aiohttp": version("aiohttp"),
        "uvloop": _version_if_any("uvloop"),
        "nginx": nginx.version(program) if program else "not installed",
        "nginx's Lua and Redis": handmade.version() or "not all installed",
        "disk": f"{sync_ms(home):.2f} ms for a write of 4 KiB and its fsync (median)",
        "load before": f"{os.getloadavg()[0]:.2f}",
    }


def sync_ms(home: Path) -> float:
    """How long the disk takes to make a page durable: what a strict route must wait for at least."""
    path = home / "sync"
    took = []
    with path.open("wb", buffering=0) as file:
        for _ in range(_SYNCS):
            begun = time.perf_counter()
            file.write(bytes(4096))
            os.fsync(file.fileno())
            took.append(time.perf_counter() - begun)
    path.unlink()
    return statistics.median(took) * 1000


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    found = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(found, "") or platform.processor() or platform.machine()


def _version_if_any(package: str) -> str:
    try:
        return version(package)
    except ModuleNotFoundError:
        return "not installed"
