"""Alert rules and dashboard: promtool's own checks and the unit tests of each alert."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml
from rendered_manifests import tool

HERE = Path(__file__).parent
MONITORING = HERE.parents[1] / "k8s" / "base" / "monitoring"
RULES = MONITORING / "alerts.yaml"
PROMETHEUS = "install Debian's package prometheus"


def promtool(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [tool("promtool", PROMETHEUS), *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def alerts() -> list[str]:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    return [rule["alert"] for rule in group["rules"]]


def test_rules_are_valid() -> None:
    done = promtool("check", "rules", RULES)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_fires_and_stays_silent_when_it_should() -> None:
    done = promtool("test", "rules", HERE / "alerts_test.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", alerts())
def test_each_alert_has_a_test_that_fires_and_one_that_does_not(alert: str) -> None:
    tests = yaml.safe_load((HERE / "alerts_test.yaml").read_text())["tests"]
    cases = [
        bool(case.get("exp_alerts")) for test in tests for case in test["alert_rule_test"] if case["alertname"] == alert
    ]
    assert set(cases) == {True, False}


def test_dashboard_has_a_panel_for_each_question() -> None:
    dashboard = json.loads((MONITORING / "ripen.json").read_text())
    titles = [panel["title"] for panel in dashboard["panels"]]
    assert len(titles) == len(set(titles)) >= 12
    assert all(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
    assert all(panel["datasource"]["uid"] == "${source}" for panel in dashboard["panels"])
