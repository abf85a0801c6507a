"""YAML is read strictly, within bounds, and without its traps."""

from pathlib import Path

import pytest

from gateway.settings import SettingsInvalid, load
from tests.settings.asking import FULL, mistakes_in, only


def test_a_key_that_is_given_twice_is_a_mistake(tmp_path: Path) -> None:
    found = only(mistakes_in("mode: test\nlog: {level: info}\nmode: live\n", tmp_path))
    assert str(found) == "gateway.yaml:3:1: mode: this key is given twice, first in line 1\n  mode: live\n  ^^^^"


def test_a_tab_is_named(tmp_path: Path) -> None:
    found = only(mistakes_in("log:\n\tlevel: info\n", tmp_path))
    assert found.where == "gateway.yaml:2:1"
    assert found.words == "not YAML: a tab stands here; YAML is indented with spaces"
    assert found.excerpt.splitlines()[0].endswith("level: info")


@pytest.mark.parametrize(
    ("text", "where", "words"),
    [
        ("log: {level: info\n", "gateway.yaml:2:1", "expected ',' or '}'"),
        ("mode: test: live\n", "gateway.yaml:1:11", "mapping values are not allowed here"),
        ('mode: "test\n', "gateway.yaml:1:7", "unexpected end of stream"),
        ("mode: test\n  log: 1\n", "gateway.yaml:2:6", "mapping values are not allowed here"),
        ("mode: te\x07st\n", "gateway.yaml:1:9", "a control character"),
        ("mode: test\n---\nmode: live\n", "gateway.yaml:2:1", "a second document begins here"),
        ("mode: *nothing\n", "gateway.yaml:1:7", "has no anchor"),
        ("log: &it {level: *it}\n", "gateway.yaml:1:18", "has no anchor"),
        ("? [a]\n: b\n", "gateway.yaml:1:3", "a key must be a plain word"),
        ('mode: "\\UFFFFFFFF"\n', "gateway.yaml", "this is not YAML"),
    ],
)
def test_what_is_not_yaml_is_said_with_its_place(text: str, where: str, words: str, tmp_path: Path) -> None:
    found = only(mistakes_in(text, tmp_path))
    assert found.where == where
    assert words in found.words


def test_mistakes_of_the_environment_are_told_even_if_the_file_cannot_be_read(tmp_path: Path) -> None:
    syntax, variable = mistakes_in("log: [\n", tmp_path, {"GATEWAY_FOO": "1"})
    assert "not YAML" in syntax.words
    assert variable.where == "environment: GATEWAY_FOO"


def test_a_file_that_is_not_utf_8_or_too_large_is_refused(tmp_path: Path) -> None:
    assert only(mistakes_in(b"mode: test\n# \xff\n", tmp_path)).words == "the file is not UTF-8 in line 2"
    assert only(mistakes_in("#" * (2**20 + 1), tmp_path)).words == "the file is larger than 1 MiB"


def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path) -> None:
    for text in ("- a\n", "just words\n", "12\n"):
        assert "must be a mapping" in only(mistakes_in(text, tmp_path)).words


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system [ls]", "!include x", "!!str test", "! test"])
def test_tags_are_refused(tag: str, tmp_path: Path) -> None:
    assert "tags (`!…`) are not used here" in mistakes_in(f"mode: {tag}\n", tmp_path)[0].words


def test_aliases_that_multiply_are_stopped(tmp_path: Path) -> None:
    lines = ["log: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"l{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    found = only(mistakes_in("\n".join(lines), tmp_path))  # or it would take for ever
    assert "more than 100000 values" in found.words


def test_nesting_has_a_bound(tmp_path: Path) -> None:
    found = only(mistakes_in("log: " + "[" * 50_000, tmp_path))
    assert found.words == "nested more than 32 deep"


@pytest.mark.parametrize(
    "word", ["no", "yes", "on", "off", "No", "TRUE", "12:30", "010", "0x10", "1_000", "2024-01-01"]
)
def test_a_scalar_that_yaml_reads_as_something_else_is_a_mistake_that_says_so(word: str, tmp_path: Path) -> None:
    found = only(mistakes_in(FULL.replace("name: status", f"name: {word}"), tmp_path))
    assert found.path == "routes[1].name"
    assert found.words.startswith("YAML reads this as ")
    assert "quote it" in found.words


def test_true_where_text_belongs_and_a_number_where_a_name_belongs_say_quote_it(tmp_path: Path) -> None:
    for word, kind in {"true": "a truth value", "12": "a number", "1.5": "a number"}.items():
        found = only(mistakes_in(FULL.replace("name: status", f"name: {word}"), tmp_path))
        assert found.words == f"YAML reads this as {kind}, but expected is a name; quote it"


def test_a_trap_as_the_name_of_an_upstream_is_a_mistake(tmp_path: Path) -> None:
    text = FULL.replace("  weather: {", "  no: {url: http://127.0.0.1:9002}\n  weather: {")
    assert only(mistakes_in(text, tmp_path)).where == "gateway.yaml:17:3"


def test_a_setting_without_a_value_is_a_mistake(tmp_path: Path) -> None:
    for text in ("stripe:\n", "public_url: ~\n", "mode:\n"):
        assert only(mistakes_in(text, tmp_path)).words == "it has no value; give it one or remove the line"


def test_a_merge_of_what_is_no_mapping_is_a_mistake(tmp_path: Path) -> None:
    found = mistakes_in("log: {<<: 5, level: info}\n", tmp_path)
    assert [mistake.words for mistake in found] == ["`<<` must be followed by the alias of a mapping"]


@pytest.mark.parametrize("price", ["0.002 usd", "5 usd", "5.00usd"])
def test_money_without_quotes_is_a_mistake_though_yaml_reads_a_text(tmp_path: Path, price: str) -> None:
    file = tmp_path / "gateway.yaml"
    shipped = (Path(__file__).parents[2] / "config/gateway.yaml").read_text()
    file.write_text(shipped.replace('"0.002 usd"', price))
    with pytest.raises(SettingsInvalid, match=f'money is written quoted.*"{price}"'):
        load(file, {}, make_secrets=False)
