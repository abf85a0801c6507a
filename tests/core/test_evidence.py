"""A bundle is as it was made, or it is said what is not."""

from dataclasses import replace

import pytest

from gateway.core.evidence import Manifest, findings, manifest
from gateway.core.keyring import Keyring
from gateway.core.secrets import Secret

KEYS = Keyring([Secret("k" * 40)])
FILES = {"a.txt": b"a", "b.txt": b"b"}
MADE = manifest(FILES, {"by": "operator:ann"}, KEYS)


def found(made: Manifest = MADE, files: dict[str, bytes] = FILES, *, on_trail: bool = True) -> list[str]:
    return findings(made, files, KEYS, noted=[made.hash] if on_trail else [])


def test_one_that_is_as_it_was_made_has_nothing_wrong() -> None:
    assert found() == []
    assert found(Manifest.read(MADE.text())) == []


def test_each_change_is_named() -> None:
    assert found(files={"a.txt": b"a"}) == ["b.txt is missing"]
    assert found(files={**FILES, "c.txt": b""}) == ["c.txt was added"]
    assert found(files={**FILES, "a.txt": b"x"}) == ["a.txt was changed"]


def test_one_that_was_made_afterwards_with_our_own_keys_is_not_on_the_trail() -> None:
    assert found(on_trail=False) == ["nothing on the trail says that it was made"]


def test_a_manifest_of_others_is_not_ours() -> None:
    others = manifest(FILES, {}, Keyring([Secret("n" * 40)]))
    assert "is not here any more" in found(others)[0]
    assert found(replace(others, key_id=MADE.key_id)) == ["the manifest was changed, or was not signed by us"]
    with pytest.raises(ValueError, match="no manifest of ours"):
        Manifest.read("{}")
