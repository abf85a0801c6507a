"""A process that has had much at once gives it back, also when something small was kept after it."""

import json
import platform
import subprocess
import sys

import pytest

_PROGRAM = """
import ctypes, json, sys
from gateway.adapters.allocator import give_memory_back
took = give_memory_back() if sys.argv[1] == "told" else None
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes, libc.memset.argtypes = [ctypes.c_void_p], [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
def rss():
    return int(open("/proc/self/statm").read().split()[1]) * 4
libc.free(libc.malloc(16 << 20))  # from here on glibc has blocks up to this size in the heap
before, kept = rss(), []
for _ in range(20):
    large = libc.malloc(1 << 20)
    libc.memset(large, 1, 1 << 20)
    kept.append(libc.malloc(2000))
    large_too = libc.malloc(1 << 20)
    libc.memset(large_too, 1, 1 << 20)
    kept.append(libc.malloc(2000))
    libc.free(large_too)
    kept.append(large)
for one in kept[2::3]:
    libc.free(one)
print(json.dumps([took, rss() - before]))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="there is nothing to tell another C library")
def test_large_blocks_are_given_back_though_small_ones_lie_between() -> None:
    found = {}
    for how in ("told", "untold"):
        done = subprocess.run([sys.executable, "-c", _PROGRAM, how], capture_output=True, text=True, check=True)
        found[how] = json.loads(done.stdout)
    assert found["told"][0] is True
    assert found["told"][1] < 2048, found
    assert found["untold"][1] > 10 * 1024, f"or this test could not fail: {found}"
