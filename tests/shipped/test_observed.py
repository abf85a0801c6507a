"""Dashboard, alerts and logging policy speak of what there is: every metric, label and field."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.adapters.metrics.catalogue import FAMILIES, Family

ROOT = Path(__file__).parents[2]
HOME = ROOT / "docker"
README = (ROOT / "README.md").read_text()
ALERTS: list[dict[str, Any]] = yaml.safe_load((HOME / "prometheus/alerts.yml").read_text())["groups"][0]["rules"]
DASHBOARD: dict[str, Any] = json.loads((HOME / "grafana/dashboards/farebox.json").read_text())
OF_PROMETHEUS = {"up", "time"}
_WORDS = {"by", "sum", "max", "min", "rate", "increase", "histogram_quantile", "and", "or", "offset", "changes",
          "label_values", "without"}  # fmt: skip


def suffixes(family: Family) -> tuple[str, ...]:
    return ("_bucket", "_sum", "_count") if family.kind == "histogram" else ("",)


SERIES = {f"{family.shown}{suffix}": family for family in FAMILIES for suffix in suffixes(family)}
LABELS = {label for family in FAMILIES for label in family.labels} | {"le", "instance", "job"}


def expressions() -> Iterator[tuple[str, str]]:
    for rule in ALERTS:
        yield rule["alert"], rule["expr"]
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for one in DASHBOARD["templating"]["list"]:
        yield one["name"], one["query"]
    for one in DASHBOARD["annotations"]["list"]:
        yield one["name"], one["expr"]


def wrong(expression: str) -> list[str]:
    """Metrics and labels of an expression that there are not. No parser of PromQL, but it reads what stands here."""
    found = []
    bare = re.sub(r"\[[^\]]*\]", "", expression)
    for name, chosen in re.findall(r"\b(gateway_\w+|up)\b(?:\{([^}]*)\})?", bare):
        family = SERIES.get(name)
        if family is None and name not in OF_PROMETHEUS:
            found.append(name)
            continue
        allowed = {*(family.labels if family else ()), "instance", "job"} | (
            {"le"} if name.endswith("_bucket") else set()
        )
        found += [
            f"{name}{{{label}}}" for label in re.findall(r"(\w+)\s*(?:=~|!=|!~|=)", chosen) if label not in allowed
        ]
    for grouped in re.findall(r"\bby \(([^)]*)\)", bare):
        names = {one.strip() for one in grouped.split(",")}
        around = [SERIES[name] for name in re.findall(r"gateway_\w+", bare) if name in SERIES]
        known = {label for family in around for label in family.labels} | {"le", "instance"}
        found += sorted(names - known)
    plain = re.sub(r"\{[^}]*\}|\"[^\"]*\"|\$\w+", "", re.sub(r"\bby \([^)]*\)|\boffset \w+", "", bare))
    names_used = set(re.findall(r"\b[a-z_]\w*\b", plain))
    return found + sorted(names_used - set(SERIES) - _WORDS - OF_PROMETHEUS - LABELS)


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_every_metric_and_label_that_is_asked_for_is_there(where: str, expression: str) -> None:
    assert wrong(expression) == []
    for opened, closed in ("()", "{}", "[]"):
        assert expression.count(opened) == expression.count(closed)


@pytest.mark.parametrize(
    "expression",
    ["gateway_nothing > 1", 'gateway_requests_total{caller="x"}', "sum by (account) (gateway_requests_total)",
     "gateway_requests > 1", "gateway_request_seconds", "avg(gateway_workers)"],
)  # fmt: skip
def test_what_is_not_there_is_noticed(expression: str) -> None:
    assert wrong(expression)


def test_every_metric_is_on_the_dashboard_or_in_an_alert() -> None:
    asked = " ".join(expression for _, expression in expressions())
    unseen = [family.name for family in FAMILIES if not re.search(rf"\b{family.shown}(_bucket)?\b", asked)]
    assert unseen == []


def test_an_alert_says_how_bad_it_is_and_what_to_do() -> None:
    names = [rule["alert"] for rule in ALERTS]
    assert len(set(names)) == len(names)
    section = README.partition("### What to do when an alert fires")[2].partition("\n### ")[0]
    for rule in ALERTS:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert re.fullmatch(r"\d+[smh]", rule["for"])
        assert rule["annotations"]["summary"].endswith(".")
        assert rule["annotations"]["runbook"] == "README.md#what-to-do-when-an-alert-fires"
        assert f"| `{rule['alert']}` |" in section, rule["alert"]
    assert sorted(re.findall(r"^\| `([A-Z]\w+)` \|", section, re.MULTILINE)) == sorted(names)


def test_panels_do_not_overlap_and_ask_the_datasource_that_is_provisioned() -> None:
    source = yaml.safe_load((HOME / "grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"][0]
    taken: set[tuple[int, int]] = set()
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == source["uid"]
            assert panel["fieldConfig"]["defaults"]["unit"]


def test_prometheus_scrapes_where_the_gateway_listens() -> None:
    config = yaml.safe_load((HOME / "prometheus/prometheus.yml").read_text())
    gateway = yaml.safe_load((HOME / "gateway.yaml").read_text())
    [job] = config["scrape_configs"]
    assert job["job_name"] == "gateway"
    assert job["static_configs"][0]["targets"] == [gateway["admin"]]
    assert config["rule_files"] == ["/etc/prometheus/alerts.yml"]


def promtool(*words: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("promtool") is None:
        pytest.skip("there is no promtool here")
    return subprocess.run(["promtool", *words], cwd=HOME / "prometheus", capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "words",
    [("check", "rules", "--lint-fatal", "alerts.yml"), ("check", "config", "--syntax-only", "prometheus.yml"),
     ("test", "rules", "alerts_test.yml")],
)  # fmt: skip
def test_promtool_is_content(words: tuple[str, ...]) -> None:
    done = promtool(*words)
    assert done.returncode == 0, done.stdout + done.stderr


# --- documents --------------------------------------------------------------------------------------------------------


def table(text: str, heading: str) -> dict[str, str]:
    """A table of two columns under a heading: its first column's code to its last column."""
    section = text.partition(f"{heading}\n")[2].partition("\n#")[0]
    return dict(re.findall(r"^\| `?([^`|]+?)`? \| (.*?) \|$", section, re.MULTILINE))


def test_the_readme_says_what_every_metric_is() -> None:
    section = README.partition("### Metrics\n")[2].partition("\n### ")[0]
    rows = dict(re.findall(r"^\| `(gateway_\w+)` \| (.*?) \|$", section, re.MULTILINE))
    expected = {}
    for family in FAMILIES:
        labels = ", ".join(f"`{label}`" for label in family.labels)
        expected[family.shown] = f"{family.kind} | {labels} | {family.help}"
    assert rows == expected
