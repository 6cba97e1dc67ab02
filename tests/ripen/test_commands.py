"""The commands as a user types them: what they print, what they send, how they exit."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from fake_rest_service import CREATED, METRICS, VERDICT, FakeRestService, Reply, events, job, refusal, version, versions

from ripen.__main__ import main

ANSWER = {
    "request_id": "r1",
    "model": {"name": "default", "version": 3},
    "predictions": [{"label": "orange", "probability": 0.97, "threshold": 0.5, "file": "a.jpg"}],
}
EPOCH = {"epoch": 1, "phase": "head", "loss": 0.61, "accuracy": 0.7, "seconds": 1.2}


def run(service: FakeRestService | None, *arguments: str | Path) -> Result:
    options = ["--url", service.url] if service else []
    return CliRunner().invoke(main, [*map(str, arguments), *options])


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "a[b].jpg"
    path.write_bytes(b"x")
    return path


def test_help_groups_every_command_with_an_example() -> None:
    text = run(None, "--help").output
    assert [line for line in text.splitlines() if line in ("Start:", "Ask:", "Teach:", "Versions:")]
    for name in main.commands:
        assert f"\n  {name} " in text
        assert "Example: ripen" in run(None, name, "--help").output


def test_predict_prints_a_row_per_file_whatever_its_name(
    service: FakeRestService, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(picture.parent)
    service.answer("POST /api/v1/predict", ANSWER)
    result = run(service, "predict", picture.name)
    assert result.exit_code == 0
    assert "a[b].jpg" in result.output
    assert "orange" in result.output
    assert "0.9700" in result.output


def test_a_table_that_is_piped_has_a_line_per_row_and_no_padding(service: FakeRestService, tmp_path: Path) -> None:
    long = "x" * 500
    path = tmp_path.joinpath(*["n" * 200] * 3, "a.jpg")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    failed = job("failed", failure={"code": long, "message": "no"})
    service.answer("POST /api/v1/predict", ANSWER)
    service.answer("GET /api/v1/jobs", {"jobs": [failed, job("running", id=long)]})
    service.answer("GET /api/v1/versions", versions(version(2, live=False, state=long), version(1), aspired=1))
    for name, arguments, rows in (("predict", [path], 1), ("jobs", [], 2), ("versions", [], 2)):
        lines = run(service, name, *arguments).output.splitlines()
        assert len(lines) == 1 + rows, name
        assert lines == [line.rstrip() for line in lines]
        assert any(long in line or str(path) in line for line in lines)


def test_json_is_one_document_on_stdout(service: FakeRestService, picture: Path) -> None:
    service.answer("POST /api/v1/predict", ANSWER)
    result = run(service, "predict", picture, "--json", "--model", "fruit")
    assert json.loads(result.stdout)["predictions"][0]["probability"] == 0.97
    assert service.received[0].query == {"model": "fruit"}


def test_a_bad_image_is_named_and_exits_with_1(service: FakeRestService, picture: Path) -> None:
    service.answer("POST /api/v1/predict", refusal(422, "invalid_image", "Not a picture."))
    result = run(service, "predict", picture)
    assert result.exit_code == 1
    assert "Not a picture." in result.output


def test_the_services_no_exits_with_1_and_no_trace(service: FakeRestService) -> None:
    service.answer("POST /api/v1/versions:rollback", refusal(409, "nothing_to_roll_back", "No earlier version."))
    result = run(service, "rollback", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {"error": {"code": "nothing_to_roll_back", "message": "No earlier version."}}
    assert result.stderr == "No earlier version.\n"


def test_nobody_there_exits_with_3() -> None:
    result = run(None, "versions", "--url", "http://127.0.0.1:9")
    assert result.exit_code == 3
    assert "ripen up" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [("predict",), ("predict", "nowhere.jpg"), ("promote", "0", "--reason", "x"), ("promote", "1"), ("no",)],
)
def test_wrong_usage_exits_with_2(arguments: tuple[str, ...]) -> None:
    assert run(None, *arguments).exit_code == 2


def test_import_of_a_bad_folder_sends_nothing(service: FakeRestService, tmp_path: Path) -> None:
    result = run(service, "import", tmp_path)
    assert result.exit_code == 2
    assert "expected exactly two" in result.stderr
    assert not service.received


def test_import_reports_what_became_of_the_files(service: FakeRestService, tmp_path: Path) -> None:
    for name in ("a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg", "b/x.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    one = {"id": "e", "file": "1.jpg", "label": "a", "bucket": "train", "digest": "d", "duplicate": False}
    bad = {"file": "2.jpg", "error": {"code": "label_conflict", "message": "It is stored as 'b'."}}
    service.answer("POST /api/v1/models", {"name": "default", "classes": ["b", "a"], "live_version": None})
    service.answer("POST /api/v1/examples", Reply({"examples": [one], "rejected": [bad]}, 201))
    result = run(service, "import", tmp_path)
    assert result.exit_code == 0
    assert "2 added, 0 already there, 2 rejected, 1 skipped" in result.output
    assert f"{tmp_path / 'a' / '2.jpg'}: It is stored as 'b'." in result.output
    assert json.loads(run(service, "import", tmp_path, "--json").stdout)["rejected"][0]["error"] == bad["error"]


def test_label_sends_label_and_bucket(service: FakeRestService, picture: Path) -> None:
    one = {"id": "e", "file": "a[b].jpg", "label": "apple", "bucket": "holdout", "digest": "d", "duplicate": True}
    service.answer("POST /api/v1/examples", Reply({"examples": [one], "rejected": []}, 201))
    result = run(service, "label", picture, "--label", "apple", "--holdout", "--group", "camera-3")
    assert "0 added, 1 already there, 0 rejected." in result.output
    assert b"apple" in service.received[0].body
    assert b"holdout" in service.received[0].body
    assert b"camera-3" in service.received[0].body


def test_retrain_answers_at_once_with_the_job(service: FakeRestService) -> None:
    service.answer("POST /api/v1/retrain", Reply(job(), 202))
    result = run(service, "retrain", "--backbone", "Compact", "--gate", "always")
    assert result.output == "job j1 is queued\n"
    sent = json.loads(service.received[0].body)
    assert sent == {"recipe": {"backbone": "Compact"}, "gate": {"policy": "always"}}
    run(service, "retrain", "--dry-run")
    assert json.loads(service.received[1].body) == {"recipe": {}, "gate": {"dry_run": True}}
    run(service, "retrain")
    assert json.loads(service.received[2].body) == {"recipe": {}}


def test_a_version_that_is_held_is_shown_with_its_comparisons_and_how_it_goes_live(service: FakeRestService) -> None:
    row = {"candidate_accuracy": 0.95, "live_accuracy": 0.9, "only_candidate_right": 4, "only_live_right": 2}
    scores = {"p_value": 0.6875, "log_loss": {"value": -0.1, "low": -0.2, "high": 0.01}, "auc": None}
    compared = [
        {"slice": "all", "count": 40, "judged": True, "protected": False, **row, **scores},
        {"slice": "class:[a]", "count": 12, "judged": False, "protected": True, **row},
    ]
    held = {**VERDICT, "decision": "inconclusive", "comparisons": compared, "more_images": 560}
    service.answer("GET /api/v1/jobs/j1", job("succeeded", verdict=held, version=3))
    service.answer("GET /api/v1/versions", versions(version(3, live=False, verdict=held), version(1)))
    shown = run(service, "jobs", "j1").output
    assert re.search(r"^all +40 +95.0% +90.0% +\+4 -2 +0.69 +-0.100 \[-0.200, \+0.010\]$", shown, re.MULTILINE)
    assert re.search(r"^class:\[a\] \(protected\) +12 +95.0% +90.0% +\+4 -2 +too few$", shown, re.MULTILINE)
    assert shown.endswith("To put it live: ripen promote 3 --reason WHY\n")
    assert json.loads(run(service, "jobs", "j1", "--json").stdout)["verdict"]["more_images"] == 560
    assert re.search(r"^3 .*held", run(service, "versions").output, re.MULTILINE)
    service.answer("GET /api/v1/jobs/j1", job("succeeded", dry_run=True, version=3))
    assert "ripen promote 3" in run(service, "jobs", "j1").output
    service.answer("GET /api/v1/jobs/j1", job("succeeded", version=3))
    assert "ripen promote" not in run(service, "jobs", "j1").output


def test_retrain_wait_tells_epochs_warnings_and_the_verdict_once(service: FakeRestService) -> None:
    progress = {"step": "train", "fraction": 0.4, "epoch": 1, "epochs": 15, "eta_s": 9, "history": [EPOCH]}
    running = job("running", progress={**progress, "warnings": ["No ImageNet weights."]})
    service.answer("POST /api/v1/retrain", Reply(job(), 202))
    service.answer("GET /api/v1/jobs/j1/events", events(job(), running, running, job("succeeded", progress=progress)))
    result = run(service, "retrain", "--wait")
    assert result.exit_code == 0
    assert result.output.count("epoch  1/15 head   loss 0.610 accuracy 0.700") == 1
    assert result.output.count("warning: No ImageNet weights.") == 1
    assert "version 1: promote. nothing is live yet" in result.output


def test_retrain_wait_exits_with_1_when_the_job_failed(service: FakeRestService) -> None:
    failure = {"code": "weights_unavailable", "message": "The weights could not be had."}
    service.answer("POST /api/v1/retrain", Reply(job(), 202))
    service.answer("GET /api/v1/jobs/j1/events", events(job("failed", failure=failure)))
    result = run(service, "retrain", "--wait")
    assert result.exit_code == 1
    assert "failed: The weights could not be had." in result.output


def test_jobs_versions_examples_cancel_promote(service: FakeRestService) -> None:
    change = {"version": 2, "replaced": 1, "kind": "manual", "reason": "x", "created_at": CREATED}
    broken = {"error_code": "INTERNAL", "message": "variables.data is altered"}
    service.answer("GET /api/v1/jobs", {"jobs": [job("succeeded"), job("cancelled")]})
    service.answer("GET /api/v1/jobs/j1", job("running", progress={"step": "train", "epoch": 2, "epochs": 15}))
    rows = (version(2, live=False, status=broken), version(1))
    service.answer("GET /api/v1/versions", versions(*rows, aspired=2))
    service.answer("GET /api/v1/examples", {"examples": [], "counts": [{"label": "a", "bucket": "train", "count": 7}]})
    service.answer("POST /api/v1/jobs/j1:cancel", Reply(job("running"), 202))
    service.answer("POST /api/v1/versions/2:promote", change)
    assert "cancelled" in run(service, "jobs").output
    assert "train · epoch 2/15" in run(service, "jobs", "j1").output
    listed = run(service, "versions").output
    assert "1 (live)" in listed
    assert "version 2 is not served: variables.data is altered" in listed
    assert "version 2 should be live; version 1 is" in listed
    assert json.loads(run(service, "versions", "--json").stdout)["versions"][1]["metrics"] == METRICS
    assert "7" in run(service, "examples").output
    assert "its end was asked for" in run(service, "cancel", "j1").output
    assert "version 2 goes live in place of 1" in run(service, "promote", "2", "--reason", "x").output
