"""How mistakes are printed: where, what, the line with a caret, all of them, and never a secret."""

from pathlib import Path

import pytest

from gateway.settings import SettingsInvalid, load
from gateway.settings.masking import mask, masked, shown
from gateway.settings.mistakes import MISTAKES_MAX
from tests.settings.asking import FULL, LIVE_KEY, PEPPER, SECRETS, STRIPE_KEY, WEBHOOK_SECRET, mistakes_in, only


def test_a_mistake_names_file_line_column_and_path_and_points_at_the_value(tmp_path: Path) -> None:
    text = FULL.replace('price: "0.002 usd"', "price: 0.002")
    assert str(only(mistakes_in(text, tmp_path))) == (
        'gateway.yaml:19:85: routes[0].price: write it quoted, with a currency: "0.002 usd"\n'
        "  - {name: weather, match: /weather/, upstream: weather, strip_prefix: true, price: 0.002, "
        "limit: 100/minute}\n"
        "  " + " " * 82 + "^^^^^"
    )


def test_an_unknown_key_is_pointed_at_itself(tmp_path: Path) -> None:
    text = FULL.replace("    upstream: weather\n", "    upstraem: weather\n")
    unknown, missing = sorted(mistakes_in(text, tmp_path), key=lambda mistake: "missing" in mistake.words)
    assert str(unknown) == (
        "gateway.yaml:22:5: routes[1].upstraem: there is no setting `upstraem`; did you mean `upstream`?\n"
        "  upstraem: …\n"
        "  ^^^^^^^^"
    )
    assert str(missing) == (
        "gateway.yaml:20:5: routes[1].upstream: `upstream` is missing; give it a value, such as `weather`\n"
        "  - name: status\n"
        "    ^"
    )


def test_a_caret_stands_right_below_wide_characters_and_tabs(tmp_path: Path) -> None:
    found = only(mistakes_in('log: {format: auto, level: "日本"}\n', tmp_path))
    assert found.excerpt.splitlines() == ['  log: {format: auto, level: "日本"}', "                             ^^^^^^"]
    found = only(mistakes_in('tokens: {cookie: "a\tb"}\n', tmp_path))
    assert found.excerpt.splitlines() == ['  tokens: {cookie: "a b"}', "                   ^^^^^"]


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [("upstreams:\n\ttoy: {}\n", 2, 1), ("upstreams:\n  toy:\n  \turl: x\n", 3, 3)],
)
def test_a_tab_in_front_of_a_line_is_what_the_caret_stands_under(
    tmp_path: Path, text: str, line: int, column: int
) -> None:
    found = only(mistakes_in(text, tmp_path))
    assert (found.where, "a tab stands here" in found.words) == (f"gateway.yaml:{line}:{column}", True)
    shown, under = found.excerpt.splitlines()
    assert (under, shown[2]) == ("  ^", " "), "the tab itself"


@pytest.mark.parametrize("value", ["{url: ${NOPE_URL}}", "{a: b, url: ${NOPE_URL}, c: d}", "[x, ${NOPE_URL}]"])
def test_a_variable_within_braces_is_to_be_quoted(tmp_path: Path, value: str) -> None:
    found = only(mistakes_in(f"upstreams:\n  toy: {value}\n", tmp_path))
    assert found.words == 'not YAML: within {…} and […] a variable is written quoted: "${NOPE_URL}"'


def test_a_name_that_lacks_a_letter_goes_before_the_same_name_elsewhere(tmp_path: Path) -> None:
    found = mistakes_in(FULL.replace("upstreams:", "upstream:"), tmp_path)
    assert "there is no setting `upstream`; did you mean `upstreams`?" in [mistake.words for mistake in found]
    found = mistakes_in(FULL + "price: free\n", tmp_path)
    assert only(found).words == "there is no setting `price` here; did you mean `plans.*.price`?"


def test_a_plan_without_a_price_is_not_told_of_routes(tmp_path: Path) -> None:
    found = mistakes_in(FULL + 'plans: {a: {costs: "1.00 usd"}}\n', tmp_path)
    assert all(mistake.path.startswith("plans.a") and "route" not in mistake.words for mistake in found)
    assert any(mistake.words.startswith("`price` is missing") for mistake in found)


def test_a_long_line_is_cut_around_the_mistake(tmp_path: Path) -> None:
    found = only(mistakes_in("log: {format: auto, " + " " * 200 + "level: loud }\n", tmp_path))
    line, caret = found.excerpt.splitlines()
    assert len(line) < 130
    assert line[caret.index("^") :].startswith("loud")


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = (
        FULL.replace("mode: test", "mode: tset")
        .replace("admin: 127.0.0.1:8403", "admin: 127.0.0.1:84030")
        .replace("match: /status/", "match: /Weather/")
        .replace("upstream: weather\n", "upstream: wether\n")
        .replace("price: free", "prize: free")
        .replace("level: info", "level: no")
    )
    environ = {"GATEWAY_LISTEN": "8402", "GATEWAY_FOO__BAR": "1"}
    found = mistakes_in(text, tmp_path, environ)
    assert [(mistake.where.split(":")[1], mistake.path) for mistake in found] == [
        ("2", "mode"),
        ("4", "admin"),
        ("20", "routes[1].price"),
        ("21", "routes[1].match"),
        ("22", "routes[1].upstream"),
        ("23", "routes[1].prize"),
        ("25", "log.level"),
        (" GATEWAY_FOO__BAR", ""),
        (" GATEWAY_LISTEN", "listen"),
    ]


def test_one_mistake_is_told_once(tmp_path: Path) -> None:
    text = FULL.replace("connections: 256", "connections: 010").replace("price: free", "price: no")
    assert [mistake.path for mistake in mistakes_in(text, tmp_path)] == [
        "upstreams.weather.connections",
        "routes[1].price",
    ]


def test_the_exception_prints_every_mistake_and_their_number(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text("mode: tset\nlisten: here\n")
    with pytest.raises(SettingsInvalid) as raised:
        load(file, {}, make_secrets=False)
    text = str(raised.value)
    assert "mode: `tset` is not `test` or `live`; did you mean `test`?" in text
    assert text.endswith("2 mistakes in the settings")
    assert raised.value.__cause__ is None


SPOILT = {
    "a publishable key": FULL.replace("sk_test_", "pk_test_"),
    "a live key": FULL.replace("sk_test_", "sk_live_"),
    "a key cut short": FULL.replace(STRIPE_KEY, STRIPE_KEY[:20]),
    "a pepper that equals another secret": FULL.replace(PEPPER, SECRETS[3]),
    "a section misspelt": FULL.replace("secrets: {", "secretz: {"),
    "a key misspelt": FULL.replace("peppers: [", "peper: ["),
    "a secret where a name belongs": FULL.replace("name: status", f"name: {PEPPER}"),
    "a Stripe key as a header": FULL.replace("header: Authorization", f"header: {STRIPE_KEY}"),
    "a webhook secret as an upstream": FULL.replace("upstream: weather\n", f"upstream: {WEBHOOK_SECRET}\n"),
    "a secret as a key": FULL.replace("  top_up:", f"  {STRIPE_KEY}:"),
    "a secret as the name of an upstream": FULL.replace("  weather: {", f"  {WEBHOOK_SECRET}: {{"),
    "a secret as an alias": FULL.replace(f'"{STRIPE_KEY}"', f"*{STRIPE_KEY}"),
    "a secret as a tag": FULL.replace(f'"{STRIPE_KEY}"', f"!{STRIPE_KEY} x"),
    "a secret as a variable": FULL.replace(f'"{STRIPE_KEY}"', f'"${{{STRIPE_KEY}}}"'),
    "a secret given twice": FULL.replace("  top_up:", f"  secret_key: {STRIPE_KEY}\n  top_up:"),
    "a quote left open": FULL.replace(f'"{STRIPE_KEY}"', f'"{STRIPE_KEY}'),
    "a quote in the middle": FULL.replace(STRIPE_KEY, STRIPE_KEY[:18] + '"' + STRIPE_KEY[18:]),
    "a list left open": FULL.replace(f"[{PEPPER}]", f"[{PEPPER}"),
    "a mapping where a secret belongs": FULL.replace(f"[{PEPPER}]", f"[{{a: {PEPPER}}}]"),
    "a secret in a section's place": FULL.replace("log: {format: auto, level: info}", f"log: {PEPPER}"),
    "a password in an address": FULL.replace("http://127.0.0.1:9001", f"http://user:{PEPPER}@127.0.0.1:9001"),
    "a key in a query": FULL.replace("http://127.0.0.1:9001", f"http://127.0.0.1:9001/?key={PEPPER}"),
    "a token in a comment": FULL.replace("mode: test", f"mode: tset # {STRIPE_KEY}"),
}


@pytest.mark.parametrize("what", SPOILT)
def test_no_mistake_shows_a_secret(what: str, tmp_path: Path) -> None:
    printed = "\n".join(map(str, mistakes_in(SPOILT[what], tmp_path)))
    for secret in (*SECRETS, LIVE_KEY, STRIPE_KEY.replace("sk", "pk")):
        assert secret not in printed
        assert secret[8:] not in printed


def test_the_values_beside_a_mistake_are_masked_too(tmp_path: Path) -> None:
    text = FULL.replace(f"operator_token: {SECRETS[5]}", "operator_tokken: x")
    found = only(mistakes_in(text, tmp_path))
    line = "  secrets: {sealing_keys: […], peppers: […], operator_tokken: …, jwt_keys: …}"
    assert found.excerpt.splitlines()[0] == line


def test_the_name_of_a_variable_is_shown_where_its_value_would_be_masked(tmp_path: Path) -> None:
    text = FULL.replace(f'"{STRIPE_KEY}"', '"${STRIPE_KEY}"')
    found = only(mistakes_in(text, tmp_path))
    assert found.excerpt == '  secret_key: "${STRIPE_KEY}"\n              ^^^^^^^^^^^^^^^'


def test_the_secret_that_a_variable_holds_is_not_shown(tmp_path: Path) -> None:
    text = FULL.replace("listen: 127.0.0.1:8402", 'listen: "${STRIPE}"').replace(f'"{STRIPE_KEY}"', '"${STRIPE}"')
    odd = "not-a-key-at-all"
    printed = "\n".join(map(str, mistakes_in(text, tmp_path, {"STRIPE": odd})))
    assert "listen:" in printed
    assert odd not in printed


def test_what_looks_like_a_key_is_masked_and_what_does_not_is_left() -> None:
    assert masked("sk_live_abc and whsec_x9") == "sk_live_… and whsec_…"
    assert masked("http://me:pw@host/?a=b&c=d") == "http://…@host/?a=…&c=…"
    assert masked(PEPPER) == "…"
    for text in (
        "webhook_tolerance_seconds",
        "127.0.0.1:8402",
        "https://api.example.com",
        "0.002 usd",
        "gateway_token",
    ):
        assert masked(text) == text
    assert mask("abcdef", [(1, 3), (2, 4)]) == "a…ef"
    assert shown("a\x1b[31m\nb") == "`a�[31m�b`"
    assert len(shown("word " * 1000)) < 100


def test_a_file_of_nothing_but_mistakes_is_not_printed_in_full(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text("routes: [" + "x, " * 1000 + "x]\n")
    with pytest.raises(SettingsInvalid) as raised:
        load(file, {}, make_secrets=False)
    assert len(raised.value.mistakes) == MISTAKES_MAX
    assert str(raised.value).endswith("1001 mistakes in the settings, 200 of them shown")


def test_secrets_behind_the_mistake_on_its_line_are_masked_too(tmp_path: Path) -> None:
    text = "secrets: {peppers: [a], peppers: [b], operator_token: plain-words, sealing_keys: [c d]}\n"
    twice = mistakes_in(text, tmp_path)[0]
    line = "  secrets: {peppers: […], peppers: […], operator_token: …, sealing_keys: […]}"
    assert twice.excerpt.splitlines()[0] == line
    broken = mistakes_in(text.replace("c d", 'c "d'), tmp_path)
    assert not any("plain-words" in str(mistake) for mistake in broken)


def test_a_line_that_cannot_be_read_is_not_quoted_where_secrets_are_kept(tmp_path: Path) -> None:
    text = 'secrets:\n  operator_token:\n    "correct-horse" battery-staple\nlog: {level: info}\n'
    found = only(mistakes_in(text, tmp_path))
    assert found.excerpt == "  (the line is not shown: it may hold a secret)"
    elsewhere = only(mistakes_in('listen: "here" now\n', tmp_path))
    assert elsewhere.excerpt.splitlines()[0] == '  listen: "here" now'
