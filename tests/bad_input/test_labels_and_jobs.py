"""Rows G: labels that are none or look like others, retrains that cannot be, jobs and versions that are not there."""

import unicodedata
from collections.abc import Callable

import pytest
import tiny_version
from bad_input_case import GOOD, Answer, Case, Victim, rest, rows

EXAMPLES, RETRAIN, MODELS = "/api/v1/examples", "/api/v1/retrain", "/api/v1/models"
INVALID, UNKNOWN = (400, "invalid_request"), (422, "unknown_label")
LABELS = {
    "G1-empty": "",
    "G1-blank": "   ",
    "G1-300-characters": "a" * 300,
    "G2-control": "a\x07b",
    "G2-line": "a\nb",
    "G2-override": "a\u202eb",
    "G2-path": "../x",
    "G2-dots": "..",
    "G2-delete": "a\x7f",
    "G2-byte-order-mark": "\ufeffapple",
}
LISTS: dict[str, object] = {
    "G1-number": [1, "b"],
    "G1-null": [None, "b"],
    "G1-list": [["a"], "b"],
    "G1-one": ["a"],
    "G1-three": ["a", "b", "c"],
    "G1-equal": ["a", "a"],
    "G3-equal-but-for-blanks": ["a", " a "],
    "G3-equal-but-for-composition": ["\u00e4", "a\u0308"],
    "G1-text": "ab",
    "G1-object": {"a": "b"},
    "G2-nul": ["a\x00", "b"],
}


def add(label: str, seed: int, model: str = "default", bucket: str | None = None) -> Callable[[Victim], Answer]:
    fields = {"label": label} | ({"bucket": bucket} if bucket else {})
    return rest("POST", EXAMPLES, params={"model": model}, data=fields, files={"file": tiny_version.picture(seed)})


def upload(victim: Victim, label: str, seed: int, **more: str) -> Answer:
    return add(label, seed, **more)(victim)


def create(classes: object) -> Callable[[Victim], Answer]:
    return rest("POST", MODELS, json={"name": "labels", "classes": classes})


def correct(label: str) -> Callable[[Victim], Answer]:
    def send(victim: Victim) -> Answer:
        victim.client.post("/api/v1/predict", content=GOOD, headers={"X-Request-Id": "corrected"})
        return rest("POST", "/api/v1/feedback", json={"request_id": "corrected", "label": label})(victim)

    return send


NAMES = [
    *(Case(f"feedback-{name}", correct(label), *UNKNOWN) for name, label in LABELS.items()),
    *(Case(f"examples-{name}", add(label, 900), *(UNKNOWN if label else INVALID)) for name, label in LABELS.items()),
    *(Case(f"models-{name}", create([label, "b"]), *INVALID) for name, label in LABELS.items()),
    *(Case(f"models-{name}", create(classes), *INVALID) for name, classes in LISTS.items()),
    Case("G2-nul-in-a-form", add("apple\x00", 900), *UNKNOWN),
    Case(
        "G2-half-a-pair",
        rest(
            "POST",
            MODELS,
            content=b'{"name": "labels", "classes": ["\\ud800", "b"]}',
            headers={"content-type": "application/json"},
        ),
        *INVALID,
    ),
    Case("G3-other-case", add("Apple", 900), *UNKNOWN),
    Case("G4-unknown", add("pear", 900), *UNKNOWN),
    Case("G4-other-model", add("apple", 900, model="nobody"), 404, "unknown_model"),
    *(
        Case(f"model-name-{name!r}", rest("POST", MODELS, json={"name": name}), *INVALID)
        for name in ("", "A", "../x", "a b", "x" * 64, "-a")
    ),
    *(Case(f"model-path-{name}", rest("GET", f"{MODELS}/{name}"), *INVALID) for name in ("A", "a%20b", "x" * 64)),
    Case("label-filter-nul", rest("GET", f"{EXAMPLES}?label=a%00"), *INVALID),
    Case("label-filter-long", rest("GET", EXAMPLES, params={"label": "x" * 65}), *INVALID),
    Case("after-nul", rest("GET", f"{EXAMPLES}?after=%00"), *INVALID),
    Case("limit-0", rest("GET", EXAMPLES, params={"limit": 0}), *INVALID),
    Case("limit-30-digits", rest("GET", EXAMPLES, params={"limit": "1" * 30}), *INVALID),
    Case("limit-5000-digits", rest("GET", EXAMPLES, params={"limit": "1" * 5000}), *INVALID),
    Case("bucket-unknown", rest("GET", EXAMPLES, params={"bucket": "zq7marker"}), *INVALID),
    Case("delete-unknown", rest("DELETE", f"{EXAMPLES}/none"), 404, "unknown_example"),
    Case("delete-long", rest("DELETE", f"{EXAMPLES}/{'x' * 65}"), *INVALID),
]
RECIPES: dict[str, dict[str, object]] = {
    "G9-epochs-10^9": {"head_epochs": 10**9},
    "G9-epochs-negative": {"head_epochs": -1},
    "G9-no-epochs": {"head_epochs": 0, "tail_epochs": 0},
    "G9-batch-0": {"batch_size": 0},
    "G9-learning-rate-0": {"learning_rate": 0},
    "G9-learning-rate-text": {"learning_rate": "fast"},
    "G9-size-10^6": {"image_size": 10**6},
    "G9-threshold-1": {"threshold": 1},
    "G9-unknown": {"epochs": 3},
    "G9-unknown-long": {"x" * 60_000: 1},
    "G9-weights-path": {"weights": "/etc/passwd"},
    "G9-weights-long": {"weights": "x" * 60_000},
    "G9-null-for-a-number": {"seed": None},
}
JOBS = [
    *(Case(name, rest("POST", RETRAIN, json={"recipe": recipe}), *INVALID) for name, recipe in RECIPES.items()),
    Case("G9-policy", rest("POST", RETRAIN, json={"gate": {"policy": "zq7marker"}}), *INVALID),
    Case("G10-key-1000", rest("POST", RETRAIN, headers={"idempotency-key": "k" * 1000}), *INVALID),
    Case("G10-key-blank", rest("POST", RETRAIN, headers={"idempotency-key": "a b"}), *INVALID),
    Case("G10-key-latin", rest("POST", RETRAIN, headers={"idempotency-key": b"\xe4"}), *INVALID),
    Case(
        "G11-promote-unknown", rest("POST", "/api/v1/versions/9:promote", json={"reason": "x"}), 404, "unknown_version"
    ),
    *(
        Case(
            f"G11-promote-{number}", rest("POST", f"/api/v1/versions/{number}:promote", json={"reason": "x"}), *INVALID
        )
        for number in ("0", "-1", "x", "1.5", str(2**63), "1" * 5000)
    ),
    Case("G11-promote-blank-reason", rest("POST", "/api/v1/versions/1:promote", json={"reason": "  "}), *INVALID),
    Case("G11-promote-long-reason", rest("POST", "/api/v1/versions/1:promote", json={"reason": "x" * 1001}), *INVALID),
    Case("G11-rollback", rest("POST", "/api/v1/versions:rollback"), 409, "nothing_to_roll_back"),
    Case("G12-cancel-unknown", rest("POST", "/api/v1/jobs/none:cancel"), 404, "unknown_job"),
    Case("G12-job-unknown", rest("GET", "/api/v1/jobs/none"), 404, "unknown_job"),
    Case("G12-events-unknown", rest("GET", "/api/v1/jobs/none/events"), 404, "unknown_job"),
    *(
        Case(f"G12-job-{name}", rest("GET", f"/api/v1/jobs/{job}"), *INVALID)
        for name, job in (("long", "x" * 1000), ("umlaut", "%C3%A4"))
    ),
    *(
        Case(
            f"version-{name}",
            rest("POST", "/api/v1/predict", params={"version": number}, content=tiny_version.picture(1)),
            status,
            code,
        )
        for name, number, status, code in (
            ("0", "0", *INVALID),
            ("text", "x", *INVALID),
            ("30-digits", "1" * 30, 404, "unknown_version"),
        )
    ),
]


@rows(NAMES)
def test_labels(victim: Victim, case: Case) -> None:
    case.check(victim)


@rows(JOBS)
def test_jobs_and_versions(victim: Victim, case: Case) -> None:
    case.check(victim)


def test_odd_labels_that_are_names(victim: Victim) -> None:
    """No answer of ours is HTML and none a spreadsheet, so these are names like others."""
    answer = rest("POST", MODELS, json={"name": "odd-labels", "classes": ["=cmd()", "<script>"]})(victim)
    assert answer.status == 200
    assert upload(victim, "<script>", 901, model="odd-labels").status == 201


def test_one_label_has_one_spelling(victim: Victim) -> None:
    apple, decomposed = "\u00c4pfel", unicodedata.normalize("NFD", "\u00c4pfel")
    assert apple != decomposed
    made = victim.client.post(MODELS, json={"name": "fruit", "classes": [decomposed, " Birnen "]}).json()
    assert made["classes"] == [apple, "Birnen"]
    assert victim.client.post(MODELS, json={"name": "fruit", "classes": [apple, "Birnen"]}).status_code == 200
    for seed, label in enumerate((apple, decomposed, f" {decomposed} ")):
        assert upload(victim, label, 910 + seed, model="fruit").status == 201
    page = victim.client.get(EXAMPLES, params={"model": "fruit", "label": decomposed}).json()
    assert {one["label"] for one in page["examples"]} == {apple}
    assert len(page["examples"]) == 3


def test_the_same_image_twice_and_under_the_other_label(victim: Victim) -> None:
    first, again = (
        victim.client.post(EXAMPLES, data={"label": "apple"}, files={"file": tiny_version.picture(920)})
        for _ in range(2)
    )
    one, two = first.json()["examples"][0], again.json()["examples"][0]
    assert (one["duplicate"], two["duplicate"], one["id"]) == (False, True, two["id"])
    Case("G6", add("orange", 920), 409, "label_conflict").check(victim)


def test_a_retrain_without_enough_images(victim: Victim) -> None:
    victim.client.post(MODELS, json={"name": "few", "classes": ["a", "b"]}).raise_for_status()
    Case("G8-none", rest("POST", RETRAIN, params={"model": "few"}), 422, "invalid_dataset").check(victim)
    for seed in range(930, 936):
        upload(victim, "a", seed, model="few")
    Case("G8-one-class", rest("POST", RETRAIN, params={"model": "few"}), 422, "invalid_dataset").check(victim)
    victim.client.post(MODELS, json={"name": "undeclared"}).raise_for_status()
    Case("G8-no-classes", rest("POST", RETRAIN, params={"model": "undeclared"}), 409, "classes_not_declared").check(
        victim
    )


def test_a_key_used_again_and_a_job_that_has_ended(victim: Victim) -> None:
    victim.client.post(MODELS, json={"name": "jobs", "classes": ["a", "b"]}).raise_for_status()
    for number, label in enumerate(("a", "b")):
        for seed in range(12):
            bucket = {"bucket": "holdout"} if seed == 0 else {}
            assert upload(victim, label, 950 + 20 * number + seed, model="jobs", **bucket).status == 201
    at, key = {"model": "jobs"}, {"idempotency-key": "once"}
    job = victim.client.post(RETRAIN, params=at, headers=key).json()["id"]
    assert victim.client.post(RETRAIN, params=at, headers=key).json()["id"] == job
    other = rest("POST", RETRAIN, params=at, headers=key, json={"recipe": {"seed": 7}})
    Case("G10-reused", other, 409, "idempotency_conflict").check(victim)
    cancel = rest("POST", f"/api/v1/jobs/{job}:cancel", params=at)
    assert cancel(victim).status == 202
    ended = victim.client.get("/api/v1/jobs").json()["jobs"][-1]
    assert ended["state"] == "succeeded"
    Case("G12-ended", rest("POST", f"/api/v1/jobs/{ended['id']}:cancel"), 409, "job_finished").check(victim)


@pytest.mark.parametrize("length", [2000, 60_000])
def test_a_job_of_a_long_name(victim: Victim, length: int) -> None:
    """G12: 400 by our pattern; what no server should read is refused by its length."""
    answer = victim.client.get(f"/api/v1/jobs/{'x' * length}")
    assert answer.status_code == 400 or (length > 8192 and answer.status_code in (414, 431))
    victim.check_unharmed()
