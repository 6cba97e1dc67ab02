"""The first version: what is done, in which order, and when it is refused."""

from pathlib import Path

import pytest
from fake_rest_service import METRICS, VERDICT, FakeRestService, Reply, events, job, refusal, version, versions

from ripen.answers import Version
from ripen.bootstrap import Bootstrap
from ripen.client import Client
from ripen.dataset_folder import DatasetFolder, read_dataset
from ripen.display import Screen
from ripen.errors import CannotStart

MODEL = {"name": "default", "classes": None, "live_version": None}
DECLARED = {**MODEL, "classes": ["apple", "orange"]}
OWN = {**MODEL, "classes": ["cat", "dog"]}
WEAK = versions(version(metrics={**METRICS, "accuracy": 0.7}))


@pytest.fixture
def folder(tmp_path: Path) -> DatasetFolder:
    """Two images of each class, made small instead of drawn."""
    for name in ("apple/1.jpg", "apple/2.jpg", "orange/1.jpg", "orange/2.jpg"):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_bytes(b"x")
    return read_dataset(tmp_path / "data")


@pytest.fixture
def fresh(service: FakeRestService) -> FakeRestService:
    """A service that becomes ready, has no version, and trains one when asked."""
    added = {"id": "e", "file": "1.jpg", "label": "apple", "bucket": "train", "digest": "d", "duplicate": False}
    service.answer("GET /readyz", refusal(503, "not_ready", "the database was not read yet"), {"status": "ready"})
    service.answer("POST /api/v1/models", MODEL, MODEL, DECLARED)
    service.answer("GET /api/v1/versions", versions(), versions(version(live=False), aspired=1), versions(version()))
    service.answer("POST /api/v1/examples", Reply({"examples": [added, added], "rejected": []}, 201))
    service.answer("GET /api/v1/jobs", {"jobs": []})
    service.answer("POST /api/v1/retrain", Reply(job(), 202))
    service.answer("GET /api/v1/jobs/j1/events", events(job(), job("succeeded")))
    return service


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """What is left of the drawn pictures of an earlier start."""
    (tmp_path / "sample").mkdir()
    return tmp_path / "sample"


def run(service: FakeRestService, tmp_path: Path, data: DatasetFolder | None, *, drawn: bool = False) -> Version | None:
    class Undrawn(Bootstrap):
        def _drawn_sample(self) -> DatasetFolder:
            assert data
            return data

    kind = Undrawn if drawn else Bootstrap
    return kind(Client(service.url), Screen(json=False), tmp_path, None if drawn else data).run()


def test_from_nothing_to_a_live_version(
    fresh: FakeRestService, tmp_path: Path, folder: DatasetFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    live = run(fresh, tmp_path, folder)
    assert live
    assert live.version == 1
    (retrain,) = fresh.requests("POST /api/v1/retrain")
    assert retrain.headers["idempotency-key"] == "bootstrap-0"
    printed = capsys.readouterr().out
    assert "4 added, 0 already there" in printed
    assert "version 1: promote." in printed


def test_a_job_that_still_runs_is_watched_instead_of_a_second(
    fresh: FakeRestService, tmp_path: Path, folder: DatasetFolder
) -> None:
    fresh.answer("GET /api/v1/jobs", {"jobs": [job("running"), job("failed", id="j0")]})
    assert run(fresh, tmp_path, folder)
    assert not fresh.requests("POST /api/v1/retrain")


def test_after_a_failed_bootstrap_a_new_job_is_asked_for(
    fresh: FakeRestService, tmp_path: Path, folder: DatasetFolder
) -> None:
    fresh.answer("GET /api/v1/jobs", {"jobs": [job("failed", id="j0")]})
    assert run(fresh, tmp_path, folder)
    assert fresh.requests("POST /api/v1/retrain")[0].headers["idempotency-key"] == "bootstrap-1"


def test_a_present_version_is_only_waited_for(
    fresh: FakeRestService, tmp_path: Path, folder: DatasetFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    fresh.answer("GET /api/v1/versions", versions(version(live=False), aspired=1), versions(version()))
    assert run(fresh, tmp_path, folder)
    assert not fresh.requests("POST /api/v1/examples")
    assert "is not imported" in capsys.readouterr().out


def test_a_weak_first_version_of_the_sample_set_is_refused(
    fresh: FakeRestService, tmp_path: Path, folder: DatasetFolder
) -> None:
    fresh.answer("GET /api/v1/versions", versions(), WEAK)
    with pytest.raises(CannotStart, match=r"right on 70\.0% of the hold-out; expected 85%"):
        run(fresh, tmp_path, folder, drawn=True)


@pytest.mark.usefixtures("sample")
def test_a_weak_first_version_of_the_sample_set_is_refused_at_every_start(
    fresh: FakeRestService, tmp_path: Path
) -> None:
    fresh.answer("POST /api/v1/models", DECLARED)
    fresh.answer("GET /api/v1/versions", WEAK)
    with pytest.raises(CannotStart, match=r"right on 70\.0% of the hold-out; expected 85%"):
        run(fresh, tmp_path, None)


@pytest.mark.usefixtures("sample")
def test_a_weak_later_version_is_the_users_business(fresh: FakeRestService, tmp_path: Path) -> None:
    fresh.answer("POST /api/v1/models", DECLARED)
    fresh.answer(
        "GET /api/v1/versions", versions(version(2, metrics={**METRICS, "accuracy": 0.7}), version(live=False))
    )
    assert run(fresh, tmp_path, None)


def test_a_weak_first_version_of_the_users_own_images_only_warns(
    fresh: FakeRestService, tmp_path: Path, folder: DatasetFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    fresh.answer("GET /api/v1/versions", versions(), WEAK)
    assert run(fresh, tmp_path, folder)
    assert "More images" in capsys.readouterr().out


REJECTED = job("succeeded", verdict={**VERDICT, "decision": "reject", "reasons": ["No better than guessing."]})


def test_a_failed_first_job_says_why(fresh: FakeRestService, tmp_path: Path, folder: DatasetFolder) -> None:
    ended = job("failed", failure={"code": "weights_unavailable", "message": "No weights for VGG16."})
    fresh.answer("GET /api/v1/jobs/j1/events", events(ended))
    with pytest.raises(CannotStart, match="No weights for VGG16"):
        run(fresh, tmp_path, folder)


def test_a_rejected_first_version_of_the_sample_set_says_why(
    fresh: FakeRestService, tmp_path: Path, folder: DatasetFolder
) -> None:
    fresh.answer("GET /api/v1/jobs/j1/events", events(REJECTED))
    with pytest.raises(CannotStart, match="No better than guessing"):
        run(fresh, tmp_path, folder, drawn=True)


def test_a_rejected_first_version_of_the_users_own_images_is_left_to_a_person(
    fresh: FakeRestService, tmp_path: Path, folder: DatasetFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    fresh.answer("GET /api/v1/jobs/j1/events", events(REJECTED))
    fresh.answer("GET /api/v1/versions", versions(), versions(version(live=False)))
    assert run(fresh, tmp_path, folder) is None
    printed = capsys.readouterr().out
    assert "No better than guessing" in printed
    assert "ripen promote" in printed


def test_a_version_that_cannot_be_loaded_is_reported_and_the_old_one_returned(
    fresh: FakeRestService, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = version(2, live=False, status={"error_code": "INTERNAL", "message": "it is altered"})
    fresh.answer("GET /api/v1/versions", versions(broken, version(1), aspired=2))
    live = run(fresh, tmp_path, None)
    assert live
    assert live.version == 1
    assert "Version 2 is not served: it is altered" in capsys.readouterr().out


@pytest.mark.parametrize("model", [OWN, DECLARED])
def test_a_model_with_the_users_own_images_gets_no_sample(
    fresh: FakeRestService, tmp_path: Path, folder: DatasetFolder, model: dict[str, object]
) -> None:
    fresh.answer("POST /api/v1/models", model)
    assert run(fresh, tmp_path, folder, drawn=True) is None
    assert not fresh.requests("POST /api/v1/examples")
    assert not fresh.requests("POST /api/v1/retrain")


@pytest.mark.usefixtures("sample")
def test_an_interrupted_import_of_the_sample_goes_on(
    fresh: FakeRestService, tmp_path: Path, folder: DatasetFolder
) -> None:
    fresh.answer("POST /api/v1/models", DECLARED)
    assert run(fresh, tmp_path, folder, drawn=True)
    assert fresh.requests("POST /api/v1/examples")


@pytest.mark.parametrize("model", [OWN, DECLARED])
def test_an_unfinished_job_is_followed_without_any_folder(
    fresh: FakeRestService, tmp_path: Path, model: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    fresh.answer("POST /api/v1/models", model)
    fresh.answer("GET /api/v1/jobs", {"jobs": [job("running")]})
    assert run(fresh, tmp_path, None)
    assert "Fine-tuning version 1 (job j1)" in capsys.readouterr().out
    assert not fresh.requests("POST /api/v1/examples")
    assert not fresh.requests("POST /api/v1/retrain")


def test_a_followed_job_on_the_users_own_images_is_judged_as_such(fresh: FakeRestService, tmp_path: Path) -> None:
    fresh.answer("POST /api/v1/models", OWN)
    fresh.answer("GET /api/v1/jobs", {"jobs": [job("running")]})
    fresh.answer("GET /api/v1/jobs/j1/events", events(REJECTED))
    fresh.answer("GET /api/v1/versions", versions(), versions(version(live=False)))
    assert run(fresh, tmp_path, None) is None
