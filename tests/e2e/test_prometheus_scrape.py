"""A real Prometheus scrapes a running service: every series is there, rules, dashboard and metrics fit one another."""

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import service_process
import tiny_version
import yaml
from installation import free_port
from rendered_manifests import tool

pytestmark = pytest.mark.e2e
MONITORING = Path(__file__).parents[2] / "k8s" / "base" / "monitoring"
PROMETHEUS = "install Debian's package prometheus"
DEADLINE_S = 120.0
VARIABLES = {"$__rate_interval": "1m", "$instance": ".*", "$model": ".*"}


@dataclass
class Scraped:
    """A service and the Prometheus that watches it."""

    service: httpx.Client
    prometheus: httpx.Client

    def query(self, expression: str) -> list[dict[str, Any]]:
        answer = self.prometheus.get("/api/v1/query", params={"query": expression})
        assert answer.status_code == 200, answer.text
        return list(answer.json()["data"]["result"])

    def families(self) -> set[str]:
        """The name of each metric, as its samples begin."""
        return set(re.findall(r"^# TYPE (\S+) ", self.service.get("/metrics").text, re.MULTILINE))


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.1)


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    program = tool("prometheus", PROMETHEUS)
    folder = tmp_path_factory.mktemp("scrape")
    home = folder / "home"
    home.mkdir()
    service_process.publish(home, 1, 0.0)
    with service_process.started(home) as process:
        process.wait_for(process.ready)
        for seed in range(4):
            assert process.client.post("/api/v1/predict", content=tiny_version.picture(seed)).status_code == 200
        assert process.client.post("/api/v1/predict", content=b"no image").status_code == 422
        with watched(program, folder, str(process.client.base_url.netloc, "ascii")) as prometheus:
            yield Scraped(process.client, prometheus)


@contextmanager
def watched(program: str, folder: Path, target: str) -> Iterator[httpx.Client]:
    """Prometheus with our alert rules, one target, and a port of its own, once it has scraped twice."""
    port = free_port()
    log = folder / "prometheus.log"
    command = [program, f"--config.file={configure(folder, target)}", f"--storage.tsdb.path={folder / 'series'}"]
    with log.open("w") as stderr:
        process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stderr=stderr)

    def scraped_twice() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            return Scraped(client, client).query("count_over_time(ripen_build_info[1m]) >= 2") != []
        except httpx.TransportError:
            return False

    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
            wait_until(scraped_twice)
            yield client
    finally:
        process.kill()
        process.wait()


def configure(folder: Path, target: str) -> Path:
    file = folder / "prometheus.yml"
    content = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(MONITORING / "alerts.yaml")],
        "scrape_configs": [{"job_name": "ripen", "static_configs": [{"targets": [target]}]}],
    }
    file.write_text(yaml.safe_dump(content))
    return file


def expressions() -> list[str]:
    """What the dashboard asks, with Grafana's variables filled in."""
    panels = json.loads((MONITORING / "ripen.json").read_text())["panels"]
    asked = [target["expr"] for panel in panels for target in panel["targets"]]
    for variable, value in VARIABLES.items():
        asked = [expression.replace(variable, value) for expression in asked]
    return asked


def test_the_target_is_up_and_our_series_are_there(scraped: Scraped) -> None:
    targets = scraped.prometheus.get("/api/v1/targets").json()["data"]["activeTargets"]
    assert [(target["health"], target["lastError"]) for target in targets] == [("up", "")]
    assert [series["value"][1] for series in scraped.query("ripen_live_version")] == ["1"]
    answered = scraped.query('ripen_requests_total{version="1", code="200"}')
    assert [(series["metric"]["method"], series["value"][1]) for series in answered] == [("predict", "4")]


def test_promtool_has_nothing_to_say_of_our_metrics(scraped: Scraped) -> None:
    text = scraped.service.get("/metrics").text
    command = [tool("promtool", PROMETHEUS), "check", "metrics"]
    done = subprocess.run(command, input=text, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("file", ["alerts.yaml", "ripen.json"])
def test_every_metric_that_rules_and_dashboard_name_is_exposed(file: str, scraped: Scraped) -> None:
    named = set(re.findall(r"\b(?:ripen|process)_[a-z_]+", (MONITORING / file).read_text()))
    assert named
    families = scraped.families()
    assert {name for name in named if re.sub(r"_(bucket|sum|count)$", "", name) not in families} == set()


def test_prometheus_understands_what_the_dashboard_asks(scraped: Scraped) -> None:
    for expression in expressions():
        scraped.query(expression)


def test_the_dashboards_first_questions_have_answers(scraped: Scraped) -> None:
    for metric in (
        "ripen_request_seconds_bucket",
        "ripen_score_bucket",
        "ripen_queue_depth",
        "process_resident_memory_bytes",
    ):
        assert scraped.query(metric), metric


def test_our_rules_are_loaded_and_quiet(scraped: Scraped) -> None:
    (group,) = scraped.prometheus.get("/api/v1/rules").json()["data"]["groups"]
    assert {(rule["health"], rule["state"]) for rule in group["rules"]} <= {("ok", "inactive"), ("ok", "pending")}
