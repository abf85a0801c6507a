"""What a request to an MCP server calls: read from its body, and held against what its header fields say.

A tool has a price, so it must be sure which one is called, to us and to the upstream alike. JSON leaves room for two
readings: a name that is there twice, or in other capitals, is taken for one thing by one parser and for another by the
next. Such a body is refused, and so is a batch, and one that cannot be read. Newer clients name the method and the tool
in `Mcp-Method` and `Mcp-Name`, which a front may act on; if they are there, they say the same as the body.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.core.refusals import BadRequest

TOOL = "tools/call"
_CODED, _CODED_END = "=?base64?", "?="


@dataclass(frozen=True, slots=True)
class Call:
    """A message of JSON-RPC. `id` is None for one that wants no answer; `tool` for all that calls none."""

    id: str | int | float | None
    method: str
    tool: str | None = None


NO_CALL = Call(None, "")
"""A request without a body: it listens, or says goodbye."""


class _Members(list[tuple[str, Any]]):
    """The members of an object, as they were written."""

    def one(self, name: str) -> Any:
        """The value of this member, None if it is not there. Raises BadRequest if that depends on who reads."""
        alike = [(key, value) for key, value in self if key.casefold() == name]
        if len(alike) > 1 or any(key != name for key, _ in alike):
            raise BadRequest(f"the body says {name} in a way that can be read as two things")
        return alike[0][1] if alike else None


def read_call(body: bytes | None, headers: Mapping[str, str]) -> Call:
    """What is called. None is a body that could not be had whole. Raises BadRequest."""
    if body is None:
        raise BadRequest("the body of a call has 1 MiB at most")
    if not body:
        return NO_CALL
    if headers.get("Content-Encoding", "identity").lower() != "identity":
        raise BadRequest("the body of a call is not packed")
    try:
        said = json.loads(body.decode(), object_pairs_hook=_Members)
    except (ValueError, RecursionError):
        raise BadRequest("the body is not JSON") from None
    if not isinstance(said, _Members):
        raise BadRequest("the body is one message of JSON-RPC; send the calls of a batch one by one")
    id, method = said.one("id"), said.one("method")
    if (id is not None and not isinstance(id, str | int | float)) or isinstance(id, bool):
        raise BadRequest("id: a text or a number was expected")
    if method is not None and not isinstance(method, str):
        raise BadRequest("method: a text was expected")
    call = Call(id, method or "", _tool(said) if method == TOOL else None)
    _agree(call, headers)
    return call


def _tool(said: _Members) -> str:
    params = said.one("params")
    name = params.one("name") if isinstance(params, _Members) else None
    if not isinstance(name, str):
        raise BadRequest("params: name: the name of a tool was expected")
    return name


def _agree(call: Call, headers: Mapping[str, str]) -> None:
    method, name = headers.get("Mcp-Method"), headers.get("Mcp-Name")
    if method is not None and _plain(method) != call.method:
        raise BadRequest("Mcp-Method says another method than the body")
    if name is not None and call.tool is not None and _plain(name) != call.tool:
        raise BadRequest("Mcp-Name says another tool than the body")


def _plain(value: str) -> str | None:
    """A field's value as it was meant; None if it cannot be read."""
    if not (value.startswith(_CODED) and value.endswith(_CODED_END)):
        return value
    try:
        return base64.b64decode(value[len(_CODED) : -len(_CODED_END)], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
