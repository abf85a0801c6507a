"""Every setting is a variable too, and the environment wins."""

from pathlib import Path

import pytest

from gateway.core.secrets import Secret
from gateway.settings import catalogue, from_mapping, load
from tests.settings.asking import (
    FULL,
    OLDER_WEBHOOK_SECRET,
    PEPPER,
    STRIPE_KEY,
    WEBHOOK_SECRET,
    full,
    mistakes,
    mistakes_in,
    only,
    settings,
)


def test_a_variable_wins_over_the_file(tmp_path: Path) -> None:
    environ = {
        "GATEWAY_LISTEN": "10.0.0.1:80",
        "GATEWAY_UPSTREAMS__WEATHER__URL": "http://weather:9000",
        "GATEWAY_UPSTREAMS__WEATHER__CONNECTIONS": "12",
        "GATEWAY_ROUTES__WEATHER__PRICE": "0.003 usd",
        "GATEWAY_ROUTES__STATUS__STRIP_PREFIX": "true",
        "GATEWAY_STRIPE__WEBHOOK_TOLERANCE_SECONDS": "60",
        "GATEWAY_STRIPE__RECONCILE_SECONDS": "0",
        "GATEWAY_VERSION": "1",
        "GATEWAY_LOG__LEVEL": "debug",
    }
    found = settings(tmp_path, full(), environ)
    assert found.listen == ("10.0.0.1", 80)
    assert str(found.upstreams["weather"].servers[0]) == "http://weather:9000"
    assert found.upstreams["weather"].connections_max == 12
    assert [str(route.price) for route in found.routes.routes] == ["0.003 usd", "free"]
    assert found.routes.routes[1].rewrite == "/"
    assert found.stripe is not None
    assert found.stripe.webhook_tolerance_seconds == 60
    assert found.stripe.reconcile_seconds == 0
    assert found.log.level == "debug"


@pytest.mark.parametrize(
    "text",
    [
        f'["{WEBHOOK_SECRET}", "{OLDER_WEBHOOK_SECRET}"]',
        f"{WEBHOOK_SECRET}, {OLDER_WEBHOOK_SECRET}",
        f"{WEBHOOK_SECRET},{OLDER_WEBHOOK_SECRET},",
    ],
)
def test_a_list_is_written_as_in_the_file_or_with_commas(text: str, tmp_path: Path) -> None:
    found = settings(tmp_path, full(), {"GATEWAY_STRIPE__WEBHOOK_SECRETS": text})
    assert found.stripe is not None
    assert found.stripe.webhook_secrets == (Secret(WEBHOOK_SECRET), Secret(OLDER_WEBHOOK_SECRET))


def test_a_whole_gateway_is_configured_without_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    environ = {
        "GATEWAY_UPSTREAMS__MY_API__URL": "http://127.0.0.1:9001",
        "GATEWAY_ROUTES__ONE__MATCH": "/one/",
        "GATEWAY_ROUTES__ONE__UPSTREAM": "my_api",
        "GATEWAY_ROUTES__ONE__PRICE": "0.01 usd",
        "GATEWAY_STRIPE__SECRET_KEY": STRIPE_KEY,
        "GATEWAY_STRIPE__WEBHOOK_SECRETS": WEBHOOK_SECRET,
        "PATH": "/bin",
    }
    found = load(None, environ, make_secrets=False)
    assert [(route.name, str(route.price)) for route in found.routes.routes] == [("one", "0.01 usd")]
    assert found.stripe is not None
    assert found.store_path == tmp_path / "data/gateway.db"


def test_a_section_is_written_as_in_the_file_and_its_parts_win_over_it(tmp_path: Path) -> None:
    environ = {
        "GATEWAY_UPSTREAMS": "{api: {url: 'http://127.0.0.1:9001', connections: 3}}",
        "GATEWAY_ROUTES": '[{"name": "one", "match": "/one/", "upstream": "api", "price": "1 usd", "unpaid": "page"}]',
        "GATEWAY_ROUTES__ONE__PRICE": "2 usd",
        "GATEWAY_STRIPE": f"{{secret_key: {STRIPE_KEY}, webhook_secrets: [{WEBHOOK_SECRET}]}}",
    }
    found = settings(tmp_path, full(), environ)
    assert list(found.upstreams) == ["api"]
    assert [(str(route.price), route.unpaid) for route in found.routes.routes] == [("2.00 usd", "page")]


def test_a_name_with_a_dash_is_spelt_with_an_underscore(tmp_path: Path) -> None:
    values = full(upstreams={"my-api": {"url": "http://127.0.0.1:9009"}})
    found = settings(tmp_path, values, {"GATEWAY_UPSTREAMS__MY_API__CONNECTIONS": "9"})
    assert found.upstreams["my-api"].connections_max == 9


def test_a_section_that_is_left_empty_in_the_file_is_filled(tmp_path: Path) -> None:
    environ = {"GATEWAY_STRIPE__SECRET_KEY": STRIPE_KEY, "GATEWAY_STRIPE__WEBHOOK_SECRETS": WEBHOOK_SECRET}
    file = tmp_path / "gateway.yaml"
    file.write_text("stripe:\n")
    assert load(file, environ, make_secrets=False).stripe is not None


def test_a_change_to_a_repeated_node_stays_where_it_was_made(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text("upstreams:\n  a: &same {url: http://127.0.0.1:9001}\n  b: *same\n")
    found = load(file, {"GATEWAY_UPSTREAMS__A__URL": "http://127.0.0.1:9002"}, make_secrets=False)
    assert [str(upstream.servers[0]) for upstream in found.upstreams.values()] == [
        "http://127.0.0.1:9002",
        "http://127.0.0.1:9001",
    ]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("GATEWAY_FOO__BAR", "there is no such setting"),
        ("GATEWAY_LISTN", "there is no such setting; did you mean `GATEWAY_LISTEN`?"),
        ("GATEWAY_ROUTES__WEATHER__PRIZE", "there is no such setting; did you mean `GATEWAY_ROUTES__WEATHER__PRICE`?"),
        ("GATEWAY_listen", "there is no such setting; did you mean `GATEWAY_LISTEN`?"),
        ("GATEWAY_STRIPE_SECRET_KEY", "there is no such setting; did you mean `GATEWAY_STRIPE__SECRET_KEY`?"),
        ("GATEWAY_ROUTES__WEATHER__NAME", "there is no such setting"),
        ("GATEWAY_ROUTES__WEATHER", "there is no such setting"),
        ("GATEWAY_LISTEN_FILE", "only secrets can be read from files; set `GATEWAY_LISTEN`"),
        ("GATEWAY_", "there is no such setting"),
        ("GATEWAY___LISTEN", "there is no such setting; did you mean `GATEWAY_LISTEN`?"),
        ("GATEWAY_LISTEN__", "there is no such setting; did you mean `GATEWAY_LISTEN`?"),
    ],
)
def test_an_unknown_variable_is_a_mistake(name: str, words: str, tmp_path: Path) -> None:
    found = only(mistakes(tmp_path, full(), {name: "x"}))
    assert found.where == f"environment: {name}"
    assert found.words.startswith(words)


def test_other_peoples_variables_are_left_alone(tmp_path: Path) -> None:
    names = ["GATEWAY_CONFIG", "GATEWAY_TORTURE", "MYGATEWAY_LISTEN", "gateway_listen"]
    names += ["GATEWAY_SERVICE_HOST", "GATEWAY_SERVICE_PORT", "GATEWAY_SERVICE_PORT_HTTP", "GATEWAY_PORT"]
    names += ["GATEWAY_PORT_80_TCP", "GATEWAY_PORT_80_TCP_ADDR"]
    settings(tmp_path, full(), dict.fromkeys(names, "tcp://10.0.0.1:80"))


def test_a_variable_that_is_set_to_nothing_is_a_mistake(tmp_path: Path) -> None:
    found = only(mistakes(tmp_path, full(), {"GATEWAY_LISTEN": ""}))
    assert str(found) == "environment: GATEWAY_LISTEN: listen: it is set to nothing; give it a value or unset it"


def test_a_mistaken_value_is_told_with_its_variable(tmp_path: Path) -> None:
    found = only(mistakes(tmp_path, full(), {"GATEWAY_ROUTES__WEATHER__PRICE": "0.002"}))
    assert str(found) == (
        'environment: GATEWAY_ROUTES__WEATHER__PRICE: routes[0].price: write it quoted, with a currency: "0.002 usd"'
    )
    found = only(mistakes(tmp_path, full(), {"GATEWAY_ROUTES": "[{"}))
    assert found.where == "environment: GATEWAY_ROUTES"
    found = only(mistakes(tmp_path, full(), {"GATEWAY_UPSTREAMS__WEATHER__CONNECTIONS": "many"}))
    assert found.words == "expected here is whole number, without quotes, such as 256"


def test_a_route_that_variables_leave_unfinished_is_a_mistake(tmp_path: Path) -> None:
    found = mistakes(tmp_path, full(), {"GATEWAY_ROUTES__NEW__MATCH": "/new/"})
    assert {mistake.path for mistake in found} == {"routes[2].upstream", "routes[2].price"}


# --- secrets in files -------------------------------------------------------------------------------------------------


def test_a_secret_is_read_from_the_file_that_a_variable_names(tmp_path: Path) -> None:
    key, hooks = tmp_path / "key", tmp_path / "hooks"
    key.write_text(f"{STRIPE_KEY}\n")
    hooks.write_text(f"{WEBHOOK_SECRET}\r\n\n{OLDER_WEBHOOK_SECRET}\n")
    environ = {"GATEWAY_STRIPE__SECRET_KEY_FILE": str(key), "GATEWAY_STRIPE__WEBHOOK_SECRETS_FILE": str(hooks)}
    found = from_mapping({}, base=tmp_path, environ=environ, make_secrets=False)
    assert found.stripe is not None
    assert found.stripe.secret_key == Secret(STRIPE_KEY)
    assert found.stripe.webhook_secrets == (Secret(WEBHOOK_SECRET), Secret(OLDER_WEBHOOK_SECRET))


def test_a_secret_given_both_ways_is_a_mistake(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(STRIPE_KEY)
    environ = {"GATEWAY_STRIPE__SECRET_KEY": STRIPE_KEY, "GATEWAY_STRIPE__SECRET_KEY_FILE": str(file)}
    found = only(mistakes(tmp_path, full(), environ))
    assert found.where == "environment: GATEWAY_STRIPE__SECRET_KEY_FILE"
    assert found.words == "GATEWAY_STRIPE__SECRET_KEY is set as well; set one of the two"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file"),
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"\xff", "not text"),
        (b"x" * 70_000, "too large"),
    ],
)
def test_a_file_that_gives_no_secret_is_a_mistake_that_names_the_variable(
    content: bytes | None, words: str, tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    found = only(mistakes(tmp_path, full(), {"GATEWAY_STRIPE__SECRET_KEY_FILE": str(file)}))
    assert found.where == "environment: GATEWAY_STRIPE__SECRET_KEY_FILE"
    assert words in found.words


def test_a_folder_in_the_place_of_a_secret_file_is_a_mistake(tmp_path: Path) -> None:
    found = only(mistakes(tmp_path, full(), {"GATEWAY_SECRETS__PEPPERS_FILE": str(tmp_path)}))
    assert "cannot be read" in found.words


def test_no_mistake_shows_what_a_secret_variable_or_file_holds(tmp_path: Path) -> None:
    odd = "hunter2-hunter2"
    file = tmp_path / "secret"
    file.write_text(odd)
    environ = {"GATEWAY_STRIPE__SECRET_KEY": odd, "GATEWAY_SECRETS__PEPPERS_FILE": str(file), "GATEWAY_LISTEN": odd}
    printed = "\n".join(map(str, mistakes(tmp_path, full(), environ)))
    assert "GATEWAY_SECRETS__PEPPERS_FILE: secrets.peppers[0]" in printed
    assert odd not in printed


# --- ${NAME} ----------------------------------------------------------------------------------------------------------


def test_a_variable_in_the_file_is_replaced(tmp_path: Path) -> None:
    values = full(listen="127.0.0.1:${PORT}", admin="${ADMIN:-127.0.0.1:7}", log={"level": "${LEVEL:-debug}"})
    values["upstreams"]["weather"]["connections"] = "${MANY}"
    found = settings(tmp_path, values, {"PORT": "81", "LEVEL": "", "MANY": "5"})
    assert (found.listen, found.admin, found.log.level) == (("127.0.0.1", 81), ("127.0.0.1", 7), "debug")
    assert found.upstreams["weather"].connections_max == 5


def test_a_doubled_dollar_is_a_plain_one(tmp_path: Path) -> None:
    found = only(mistakes(tmp_path, full(mode="$${PORT}"), {"PORT": "81"}))
    assert "`${PORT}`" in found.words


def test_the_value_of_a_variable_is_not_read_again(tmp_path: Path) -> None:
    found = only(mistakes(tmp_path, full(mode="${A}"), {"A": "${B}", "B": "test"}))
    assert "`${B}`" in found.words


@pytest.mark.parametrize(("environ", "state"), [({}, "not set"), ({"NOPE": ""}, "empty")])
def test_a_variable_that_is_not_there_or_empty_is_named(environ: dict[str, str], state: str, tmp_path: Path) -> None:
    text = FULL.replace("mode: test", "mode: ${NOPE}")
    found = only(mistakes_in(text, tmp_path, environ))
    assert found.where == "gateway.yaml:2:7"
    assert found.words == f"the variable `NOPE` is {state}; set it, or write ${{NAME:-default}}"


@pytest.mark.parametrize("text", ["${", "${}", "${A B}", "${NAME", "${A-b}", "${1}", "x${A:b}"])
def test_a_malformed_reference_is_a_mistake(text: str, tmp_path: Path) -> None:
    found = only(mistakes(tmp_path, full(mode=text), {"A": "test"}))
    assert found.words == "write ${NAME} or ${NAME:-default}, or $${ for a plain ${"


def test_every_setting_of_the_catalogue_is_recognised_as_a_variable(tmp_path: Path) -> None:
    for setting in catalogue.every().values():
        if setting.path[-1] in (catalogue.NAME, "name") or catalogue.NAME in setting.path[2:]:
            continue
        name = setting.variable.replace("<NAME>", "WEATHER")
        found = mistakes(tmp_path, full(), {name: ""})
        assert found[0].words == "it is set to nothing; give it a value or unset it", name
    assert PEPPER not in str(found)
