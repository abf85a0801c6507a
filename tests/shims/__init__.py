"""A disk that can be slow, full or broken, for whoever is started with it."""

import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("disk.c")
WITHOUT = "there is no C compiler (cc) to build the disk that fails on demand"


def built(folder: Path) -> Path | None:
    """The library to preload; None where there is no compiler. Raises CalledProcessError."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    library = folder / "disk.so"
    command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True, capture_output=True)
    return library
