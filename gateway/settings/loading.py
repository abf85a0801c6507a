"""From a file and an environment to values, by way of all the others here."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from gateway.settings import (
    alerting,
    building,
    checking,
    environment,
    extras_rules,
    forms,
    identity_rules,
    keys,
    licence_rules,
    limiting,
    oauth_rules,
    own_route_rules,
    own_routes,
    owner_rules,
    price_lists,
    price_rules,
    reading,
    relay_rules,
    rules,
    secret_files,
    sign_in_rules,
)
from gateway.settings.draft import Draft
from gateway.settings.masking import shown
from gateway.settings.mistakes import Report
from gateway.settings.nodes import Node, Place, find, from_plain
from gateway.settings.source import Source
from gateway.settings.values import Settings


def load(
    path: Path | None, environ: Mapping[str, str], *, make_secrets: bool, instead: Mapping[str, str] | None = None
) -> Settings:
    """The settings of a file and an environment, or of the environment alone. Raises SettingsInvalid.

    With `make_secrets`, secrets that are neither given nor on disk are made; without, nothing is written anywhere.
    `instead` are texts by the names of owners, which are read in place of their files of routes.
    """
    place = Place("settings" if path is None else str(path))
    report = Report(Node(place, {}))
    root = report.root if path is None else _read(path, report)
    if root is None:
        environment.overlay(Node(place, {}), environ, report)  # to tell of its mistakes as well
        report.raise_if_any()
        raise AssertionError("a file that cannot be read is a mistake")
    found = _settings(root, environ, report, base=Path.cwd(), make_secrets=make_secrets, instead=instead or {})
    return replace(found, file=path and path.absolute())


def from_mapping(
    values: Mapping[str, Any],
    *,
    base: Path,
    environ: Mapping[str, str] | None = None,
    make_secrets: bool,
    instead: Mapping[str, str] | None = None,
) -> Settings:
    """The settings of plain values, as they would stand in the file; relative paths start at `base`."""
    root = from_plain(values, Place("settings"))
    return _settings(root, environ or {}, Report(root), base=base, make_secrets=make_secrets, instead=instead or {})


def _read(
    path: Path, report: Report, other: price_lists.Other | None = None, instead: str | None = None
) -> Node | None:
    """The tree of a file: the configuration, or one that is laid into it; or of a text `instead` of it."""
    place = Place(str(path) if other is None else other.label)
    try:
        content = _content(path) if instead is None else instead.encode("utf-8", "surrogatepass")
        if len(content) > reading.BYTES_MAX:
            raise reading.Unreadable(place, "the file is larger than 1 MiB")
        text = content.decode("utf-8-sig")
        if other is None:
            source = report.source = Source.of(place.label, text)
        else:
            source = report.others[place.label] = Source.of(place.label, text, other.setting)
        return reading.compose(text, place, report, source)
    except UnicodeDecodeError as wrong:
        line = content[: wrong.start].count(b"\n") + 1
        report.add_at(place, (), f"the file is not UTF-8 in line {line}")
    except OSError as wrong:
        why = (wrong.strerror or "unknown").lower()
        if other is not None and other.named:
            report.add(other.named, f"{path} cannot be read: {why}")
        else:
            report.add_at(place, (), f"the file cannot be read: {why}")
    except reading.Unreadable as wrong:
        report.broken = True
        report.add_at(wrong.place, (), wrong.words)
    return None


def _content(path: Path) -> bytes:
    """No more of it than one byte too many. Raises OSError."""
    with path.open("rb") as opened:
        return opened.read(reading.BYTES_MAX + 1)


def _settings(
    root: Node,
    environ: Mapping[str, str],
    report: Report,
    *,
    base: Path,
    make_secrets: bool,
    instead: Mapping[str, str],
) -> Settings:
    report.root = root
    root = environment.substitute(root, environ, report)
    root = environment.overlay(root, environ, report)
    report.root = root
    root = price_lists.laid_in(root, environ, report, base, lambda file, other: _read(file, report, other))
    root, owned = own_routes.laid_in(root, report, base, instead, lambda *rest: _read(rest[0], report, *rest[1:]))
    shape = checking.check(root, report)
    draft = Draft(root, report, base, owned)
    report.secrets.update(text for _, text in draft.secrets())
    every = (
        rules,
        price_rules,
        relay_rules,
        limiting,
        extras_rules,
        alerting,
        licence_rules,
        identity_rules,
        sign_in_rules,
        oauth_rules,
        owner_rules,
        own_route_rules,
        keys,
    )
    for rule in (rule for some in every for rule in some.ALL):
        rule(draft)
    if (url := draft.read(forms.database, "store")) and (password := forms.password_of(url)):
        report.secrets.add(password)
    if (url := draft.read(forms.limits_storage, "limits", "storage")) and (password := forms.password_of(url)):
        report.secrets.add(password)
    store = draft.read(forms.store, "store")
    files = _secret_files(draft, base / store, report, make_secrets=make_secrets) if store else {}
    report.raise_if_any()
    if shape is None or store is None:
        raise AssertionError("what has no mistake has a shape and a store")
    return building.build(shape, store_path=(base / store).absolute(), base=base, files=files, owned=owned.upstreams)


def _secret_files(draft: Draft, store: Path, report: Report, *, make_secrets: bool) -> dict[str, list[str]]:
    """The texts of our secret files by name. They are compared with the given secrets, and made if all is well."""
    if os.path.isdir(store):  # says no where Path.is_dir raises
        report.add(("store",), f"{shown(store)} is a folder; write the path of a file")
        return {}
    folder = store.parent / secret_files.FOLDER
    wanted = [file for file in secret_files.FILES if not draft.given(*file.setting)]
    found = {file.name: secret_files.read(folder, file, report) for file in wanted}
    known = [(path, find(report.root, path), text) for path, text in draft.secrets()]
    given = [(path, node.place, text) for path, node, text in known if node is not None]
    ours = [(file.setting, Place(str(folder / file.name)), text) for file in wanted for text in found[file.name] or ()]
    keys.no_secret_serves_two_purposes([*given, *ours], report)
    if make_secrets and report.clean:
        for file in wanted:
            if found[file.name] is None and file.opens_what_is_kept and store.exists():
                words = f"it is missing and {shown(store)} is there; put it back: a new one opens no token and no link"
                report.add_at(Place(str(folder / file.name)), (), words)
            elif found[file.name] is None:
                found[file.name] = secret_files.make(folder, file, report)
    return {name: list(texts or ()) for name, texts in found.items()}
