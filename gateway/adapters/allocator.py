"""The C library's allocator, told to give memory back: a gateway runs for months.

As it comes, glibc keeps an arena for each thread, and each block from `mmap` that is freed raises the size from which
on blocks are had that way and given back at once: up to 32 MiB lie in the heap then, and its high-water mark grows by
whatever large body or page of events came last between two that stay (see mallopt(3)). So there is one arena, and that
size is fixed. Python has its own pools for what is small, and one thread at a time that runs, so an arena is enough.

What a socket gives at once is 256 KB at most, and must not be among the large: had of the system and given back each
time, an answer of 1 MB takes twice as long (CPU without sockets; with glibc's 128 KB for both bounds 1.7 ms, else
0.84). Nor must the heap's end be given back as soon as such a block is free: a stream of 105 KB takes 0.56 ms then,
else 0.53.

Elsewhere than on glibc nothing is done.
"""

import ctypes
from typing import Final

_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
_ARENA_MAX: Final = -8
"""Numbers of `malloc.h`."""
LARGE_BYTES: Final = 512 * 1024
LEFT_BYTES: Final = 2 * LARGE_BYTES
"""What may be free at the end of the heap."""


def give_memory_back() -> bool:
    """From now on, in this process and those forked of it; to be called before there are threads. Whether it took."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    wanted = ((_ARENA_MAX, 1), (_TRIM_THRESHOLD, LEFT_BYTES), (_MMAP_THRESHOLD, LARGE_BYTES))
    return [mallopt(name, value) for name, value in wanted] == [1] * len(wanted)


def give_back_now() -> None:
    """What is free already: what the imports of a start have left."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return
    trim(0)
