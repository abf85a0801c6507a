"""What must agree between settings about the relay: listeners, servers, credentials, files, paths and headers.

Rules as in `rules`.
"""

from collections.abc import Callable, Iterator
from os import path as paths

from gateway.core.routes import Server
from gateway.settings import forms, relay_forms
from gateway.settings.catalogue import NAME
from gateway.settings.draft import Draft
from gateway.settings.masking import shown
from gateway.settings.nodes import Path, spelled
from gateway.settings.rules import WILDCARDS, overlap
from gateway.settings.values import Listener, UnixSocket

_CREDENTIALS = ("header", "query", "basic")
_FILES = (("tls", "certificate"), ("tls", "key"), ("upstreams", NAME, "tls", "ca"), ("geo", "database"))


def a_unix_socket_has_a_public_url(draft: Draft) -> None:
    if isinstance(draft.read(relay_forms.listener, "listen"), UnixSocket) and not draft.given("public_url"):
        words = "nobody outside can be told a unix socket; give public_url as well, such as https://api.example.com"
        draft.report.add(("listen",), words)


def files_can_be_read(draft: Draft) -> None:
    for pattern in _FILES:
        for path in draft.paths(pattern):
            text = draft.read(relay_forms.file, *path)
            if text is None:
                continue
            file = draft.base / text
            try:
                if not paths.isfile(file):  # says no where Path.is_file raises
                    raise FileNotFoundError
                file.open("rb").close()
            except FileNotFoundError:
                draft.report.add(path, f"there is no file {shown(text)}")
            except OSError as wrong:
                draft.report.add(path, f"{shown(text)} cannot be read: {(wrong.strerror or 'unknown').lower()}")


def an_upstream_has_servers(draft: Draft) -> None:
    for name in draft.names("upstreams"):
        above = ("upstreams", name)
        if draft.report.is_bad(above):
            continue
        one, many = draft.given(*above, "url"), draft.given(*above, "servers")
        if one and many:
            draft.report.add((*above, "servers"), "there is a `url` as well; write all of them here, and no `url`")
        elif not one and not many:
            words = "`url` is missing; give it a value, such as `http://127.0.0.1:9001`, or a list in `servers`"
            draft.report.add((*above, "url"), words)


def servers_are_listed_once(draft: Draft) -> None:
    for name in draft.names("upstreams"):
        first: dict[Server, Path] = {}
        for path, server in _servers(draft, name):
            other = first.setdefault(server, path)
            if other != path:
                draft.report.add(path, f"this is the same as {spelled(other)}; each in the list must be another")


def upstreams_are_not_the_gateway(draft: Draft) -> None:
    listeners: dict[str, Listener | None] = {
        "listen": draft.read(relay_forms.listener, "listen"),
        "admin": draft.read(forms.address, "admin"),
    }
    for name in draft.names("upstreams"):
        for path, server in _servers(draft, name):
            for setting, listener in listeners.items():
                if listener is not None and _is_at(server, listener):
                    draft.report.add(path, f"this is the gateway itself (`{setting}`)")


def _is_at(server: Server, listener: Listener) -> bool:
    if isinstance(listener, UnixSocket):
        return bool(server.socket) and paths.normpath(server.socket) == paths.normpath(listener.path)
    host, port = listener
    is_here = forms.is_loopback(server.host) or server.host in WILDCARDS
    return not server.socket and server.port == port and overlap(server.host, host) and is_here


def _servers(draft: Draft, upstream: str) -> Iterator[tuple[Path, Server]]:
    above = ("upstreams", upstream)
    listed: list[Path] = [(*above, "servers", number) for number in draft.numbers(*above, "servers")]
    for path in [(*above, "url"), *listed]:
        server = draft.read(relay_forms.server, *path)
        if server is not None:
            yield path, server


def tls_is_for_servers_that_speak_it(draft: Draft) -> None:
    for path in draft.paths(("upstreams", NAME, "tls")):
        plain = [server for _, server in _servers(draft, str(path[1])) if server.scheme != "https"]
        if plain and not draft.report.is_bad(path):
            draft.report.add(
                path, f"{shown(plain[0])} is not https://, so there is no TLS; remove this or write https://"
            )


def ejection_ends_no_sooner_than_it_begins(draft: Draft) -> None:
    for path in draft.paths(("upstreams", NAME, "ejection")):
        time, time_max = (draft.read(forms.duration, *path, name) for name in ("time", "time_max"))
        if time is not None and time_max is not None and time_max < time:
            at = "time_max" if draft.given(*path, "time_max") else "time"
            draft.report.add((*path, at), "`time_max` is shorter than `time`; make it as long or longer")


def an_upstream_has_one_credential(draft: Draft) -> None:
    for path in draft.paths(("upstreams", NAME, "credential")):
        kinds = draft.names(*path)
        if len(kinds) != 1 and set(kinds) <= set(_CREDENTIALS) and not draft.report.is_bad(path):
            given = f", not {len(kinds)}" if kinds else ""
            draft.report.add(path, f"give one of header, query and basic{given}")


def a_path_is_rewritten_in_one_way(draft: Draft) -> None:
    for path in draft.paths(("routes", NAME, "rewrite")):
        rewrite, match = draft.read(relay_forms.rewrite, *path), draft.read(forms.match, *path[:-1], "match")
        if draft.truth(*path[:-1], "strip_prefix"):
            draft.report.add(path, "strip_prefix rewrites the path to `/` already; remove one of the two")
        elif rewrite and match and rewrite.endswith("/") != match.endswith("/"):
            ending = "end in `/` as well" if match.endswith("/") else "not end in `/` either"
            draft.report.add(path, f"`match` is {shown(match)}, so this must {ending}")


def headers_have_one_rule_each(draft: Draft) -> None:
    for section in ("request_headers", "answer_headers"):
        for path in draft.paths(("routes", NAME, section)):
            for kind in ("set", "add"):
                _each_once(draft, (*path, kind))
            changed = {name.lower() for name in draft.names(*path, "set")}
            for number in draft.numbers(*path, "remove"):
                name = draft.read(relay_forms.field_name, *path, "remove", number)
                if name and name.lower() in changed:
                    words = f"{shown(name)} is also set, which replaces it anyway; remove one of the two"
                    draft.report.add((*path, "remove", number), words)


def _each_once(draft: Draft, path: Path) -> None:
    first: dict[str, str] = {}
    for name in draft.names(*path):
        other = first.setdefault(name.lower(), name)
        if other != name:
            words = f"{shown(other)} and {shown(name)} are the same header; write one of them"
            draft.report.add((*path, name), words, at_key=True)


ALL: tuple[Callable[[Draft], None], ...] = (
    a_unix_socket_has_a_public_url,
    files_can_be_read,
    an_upstream_has_servers,
    servers_are_listed_once,
    upstreams_are_not_the_gateway,
    tls_is_for_servers_that_speak_it,
    ejection_ends_no_sooner_than_it_begins,
    an_upstream_has_one_credential,
    a_path_is_rewritten_in_one_way,
    headers_have_one_rule_each,
)
