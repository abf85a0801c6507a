"""JSON for people's eyes: what `json.dumps(…, indent=2)` writes, and a line feed.

The library's own way leaves a dozen functions in a cycle each time, for the garbage collector to find: before Python
3.13, its encoder in C knows no indentation. Programs that cannot pay ask often.
"""

import json
from collections.abc import Iterator
from typing import Any


def indented(content: Any) -> str:
    """Raises TypeError for what JSON does not have. Keys are texts."""
    return "".join(_written(content, "\n")) + "\n"


def _written(content: Any, line: str) -> Iterator[str]:
    """`line` is what begins the next line at this depth."""
    if not content or not isinstance(content, dict | list | tuple):
        yield json.dumps(content)
        return
    inner, between = line + "  ", ""
    yield "{" if isinstance(content, dict) else "["
    for one in content:
        yield between + inner
        between = ","
        if isinstance(content, dict):
            yield json.dumps(one) + ": "
            yield from _written(content[one], inner)
        else:
            yield from _written(one, inner)
    yield line + ("}" if isinstance(content, dict) else "]")
