"""What a scrape shows."""

from datetime import UTC, datetime

import tiny_version

from contract.errors import DatabaseUnavailable
from contract.records import (
    Bucket,
    Decision,
    ExampleCount,
    GatePolicy,
    JobState,
    Model,
    Verdict,
    Version,
    VersionState,
)
from service.metrics import Metrics


class CountingDatabase:
    """The part of the Database port that the metrics read."""

    def __init__(self) -> None:
        self.failing = False

    def count_examples(self) -> list[ExampleCount]:
        if self.failing:
            raise DatabaseUnavailable("The database is locked.")
        return [ExampleCount("fruit", 'a "red" apple', Bucket.TRAIN, 12)]

    def count_jobs(self) -> dict[tuple[str, JobState], int]:
        return {("fruit", JobState.RUNNING): 1}

    def list_models(self) -> list[Model]:
        return [Model("fruit", ("apple", "orange"), 30, "0" * 32, datetime.now(UTC))]

    def list_versions(self, model: str) -> list[Version]:
        verdict = Verdict(Decision.PROMOTE, GatePolicy.ALWAYS, (), tiny_version.METRICS)
        return [
            Version(model, number, "0" * 32, None, tiny_version.METRICS, verdict, 2.5, "0" * 64, datetime.now(UTC))
            for number in range(30, 0, -1)
        ]


def lines(metrics: Metrics) -> list[str]:
    return metrics.expose().decode().splitlines()


def test_the_database_is_read_at_every_scrape() -> None:
    shown = lines(Metrics(CountingDatabase()))
    assert 'ripen_examples{bucket="train",label="a \\"red\\" apple",model="fruit"} 12.0' in shown
    assert 'ripen_jobs{model="fruit",state="running"} 1.0' in shown
    assert 'ripen_holdout_accuracy{model="fruit",version="30"} 0.9' in shown
    assert 'ripen_holdout_log_loss{model="fruit",version="30"} 0.3' in shown
    assert 'ripen_training_seconds{model="fruit",version="11"} 2.5' in shown
    assert not [line for line in shown if 'version="10"' in line]


def test_a_failing_database_costs_only_its_own_series() -> None:
    database = CountingDatabase()
    database.failing = True
    shown = lines(Metrics(database))
    assert not [line for line in shown if line.startswith("ripen_examples")]
    assert [line for line in shown if line.startswith("ripen_build_info{")]


def test_requests_are_counted_with_their_version_and_code() -> None:
    metrics = Metrics()
    for version in (1, None):
        metrics.observe_request(
            protocol="rest", method="predict", model="default", version=version, code="ok", seconds=0.02
        )
    shown = lines(metrics)
    for label in ("1", ""):
        labels = f'code="ok",method="predict",model="default",protocol="rest",version="{label}"'
        assert f"ripen_requests_total{{{labels}}} 1.0" in shown
    assert 'ripen_request_seconds_count{method="predict",protocol="rest"} 2.0' in shown


def test_a_version_is_in_one_state_and_leaves_nothing_behind() -> None:
    metrics = Metrics()
    metrics.set_version_state("default", 1, VersionState.LOADING)
    metrics.set_version_state("default", 1, VersionState.AVAILABLE)
    metrics.observe_score("default", 1, 0.7)
    states = [line for line in lines(metrics) if line.startswith("ripen_version_state{")]
    assert [line for line in states if line.endswith(" 1.0")] == [
        'ripen_version_state{model="default",state="AVAILABLE",version="1"} 1.0'
    ]
    assert len(states) == len(VersionState)
    metrics.forget_version("default", 1, keep_state=False)
    assert not [line for line in lines(metrics) if 'version="1"' in line]


def test_requests_are_counted_for_the_versions_unloaded_last() -> None:
    metrics = Metrics()
    for version in range(1, 22):
        metrics.count_engine_restart("default", version)
        for code in ("200", "429"):
            metrics.observe_request(
                protocol="rest", method="predict", model="default", version=version, code=code, seconds=0.02
            )
    for version in range(1, 22):
        metrics.forget_version("default", version, keep_state=False)
    assert not [line for line in lines(metrics) if 'version="1"' in line]
    assert len([line for line in lines(metrics) if line.startswith("ripen_requests_total{")]) == 2 * 20
    assert len([line for line in lines(metrics) if line.startswith("ripen_engine_restarts_total{")]) == 20


def test_swaps_and_the_live_version_are_shown() -> None:
    metrics = Metrics()
    metrics.set_live_version("default", 1, swapped=False)
    metrics.set_live_version("default", 2, swapped=True)
    assert 'ripen_live_version{model="default"} 2.0' in lines(metrics)
    assert 'ripen_swaps_total{model="default"} 1.0' in lines(metrics)


def test_the_memory_of_engines_is_shown_and_a_deleted_model_leaves_nothing() -> None:
    metrics = Metrics()
    metrics.set_memory_budget(1000)
    for model in ("fruit", "weather"):
        metrics.set_engine_memory(model, 1, 300)
        metrics.count_engine_sleep(model)
        metrics.set_live_version(model, 1, swapped=True)
        metrics.set_version_state(model, 1, VersionState.AVAILABLE)
        metrics.observe_score(model, 1, 0.5)
        metrics.observe_request(protocol="rest", method="predict", model=model, version=1, code="200", seconds=0.02)
    shown = lines(metrics)
    assert "ripen_memory_budget_bytes 1000.0" in shown
    assert 'ripen_engine_memory_bytes{model="fruit",version="1"} 300.0' in shown
    assert 'ripen_engine_sleeps_total{model="fruit"} 1.0' in shown
    metrics.set_engine_memory("weather", 1, None)
    metrics.forget_model("fruit")
    shown = lines(metrics)
    assert not [line for line in shown if 'model="fruit"' in line]
    assert [line for line in shown if 'model="weather"' in line]
    assert not [line for line in shown if line.startswith("ripen_engine_memory_bytes{")]
