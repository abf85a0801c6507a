"""How much was simulated: a test says so with `record_property("operations", …)`, and the run ends with the sums."""

from collections import Counter

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line for each test that counted, whatever its seeds; reports come back from every process of a run."""
    sums: Counter[str] = Counter()
    seeds: Counter[str] = Counter()
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, ()):
            for name, value in getattr(report, "user_properties", ()):
                if name == "operations" and report.when == "call":
                    test = report.nodeid.partition("[")[0]
                    sums[test] += value
                    seeds[test] += 1
    if sums:
        terminalreporter.section("simulated")
        for test, count in sorted(sums.items()):
            terminalreporter.write_line(f"{count:>12,} operations in {seeds[test]:,} runs of {test}")
        terminalreporter.write_line(f"{sums.total():>12,} operations in all")
