"""One whole job on a tiny installation: real database, real storage, a real training."""

import hashlib
import itertools
import json
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import orchard
import pytest
import tensorflow as tf
from changed_pictures import LIMITS, everything
from orchard import TINY, Orchard
from tensorflow_serving.apis import prediction_log_pb2

from backends.database import SqlDatabase
from backends.storage import ObjectStorage
from contract import artifact
from contract.errors import DatabaseUnavailable, LeaseLost, RipenError, StorageFull, StorageUnavailable
from contract.images import ImageLimits, decode
from contract.leak_audit import Exclusion, LeakAudit
from contract.openvino_model import OpenVinoModel, Precision, offered, runtime_name
from contract.recipe import Recipe
from contract.records import Bucket, ChangeKind, Decision, Failure, GatePolicy, Job, JobState, Model, Progress, Version
from retrain.conversion import Converter
from retrain.dataset import collect
from retrain.holdout import Thresholds
from retrain.job import Surroundings, load_dataset, run
from retrain.own_process import OwnProcess
from retrain.progress import Reporter
from retrain.tf_export import WARMUP
from retrain.workplace import Workplace
from ripen.sample_set import draw_jpeg, sample_pictures
from service.split import choose_bucket

# See test_keras_training.py.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


def around(planted: Orchard) -> Surroundings:
    return Surroundings(planted.database, planted.storage, planted.home, ImageLimits())


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Orchard, Job]:
    """An installation whose first job has ended; tests that change something plant their own."""
    planted = orchard.plant(tmp_path_factory.mktemp("home"))
    job = planted.claim()
    assert run(job, replace(around(planted), converter=Converter())) is JobState.SUCCEEDED
    return planted, planted.job(job)


def test_the_first_version_is_recorded_and_live(published: tuple[Orchard, Job]) -> None:
    planted, job = published
    assert (job.version, job.failure) == (1, None)
    assert job.verdict is not None
    assert job.verdict.decision is Decision.PROMOTE
    assert planted.database.get_model("default").live_version == 1
    version = planted.database.get_version("default", 1)
    assert (version.parent, version.job_id, version.metrics) == (None, job.id, job.verdict.candidate)
    assert version.metrics.count == 12
    assert version.metrics.accuracy > 0.9


def test_its_progress_told_the_story(published: tuple[Orchard, Job]) -> None:
    progress = published[1].progress
    assert (progress.step, progress.fraction, progress.epoch, progress.epochs) == ("aspire", 1.0, 4, 4)
    assert [epoch.phase for epoch in progress.history] == ["whole"] * 4
    assert progress.warnings == ()


def test_its_folder_is_whole_and_its_manifest_says_it_all(published: tuple[Orchard, Job]) -> None:
    planted, job = published
    version = planted.database.get_version("default", 1)
    folder = planted.storage.local_folder(version.storage_key)
    manifest = artifact.verify(folder, version.manifest_sha256)
    wanted = {"saved_model.pb", "model.keras", "curves.png", "assets.extra/tf_serving_warmup_requests"}
    assert wanted <= set(manifest.files)
    assert (manifest.model, manifest.version, manifest.classes) == ("default", 1, orchard.CLASSES)
    assert (manifest.image_size, manifest.recipe, manifest.threshold) == ((32, 32), TINY, 0.5)
    assert (manifest.network.backbone, manifest.network.weights) == ("Compact", "none")
    assert manifest.history == job.progress.history
    assert manifest.metrics == version.metrics
    assert manifest.examples == {
        f"{bucket}/{label}": count for bucket, count in orchard.COUNTS.items() for label in orchard.CLASSES
    }
    assert {"tensorflow", "keras", "numpy", "pillow"} <= set(manifest.packages)
    assert any("EXIF" in difference for difference in manifest.decoder_differences)
    assert not Workplace(planted.home, job.id).staging(job.attempt).exists()


def test_golden_images_are_answered_alike_by_tensorflow(published: tuple[Orchard, Job]) -> None:
    planted, _ = published
    folder = planted.storage.local_folder("models/default/1")
    golden = artifact.read_manifest(folder).golden
    probabilities = np.array(golden.probabilities["tensorflow-f32"])
    assert len(golden.files) == len(set(golden.files)) == len(probabilities) == 16
    assert np.ptp(probabilities) > 0.1  # else they would not notice another network
    data = [(folder / file).read_bytes() for file in golden.files]
    answer = tf.saved_model.load(str(folder)).signatures["serving_default"](image_bytes=tf.constant(data))
    assert np.abs(answer["probability"].numpy()[:, 0] - probabilities).mean() < 0.01


def test_openvino_answers_its_golden_images_and_the_manifest_says_how_near(published: tuple[Orchard, Job]) -> None:
    planted, _ = published
    folder = planted.storage.local_folder("models/default/1")
    manifest = artifact.read_manifest(folder)
    golden = manifest.golden
    names = {runtime_name(precision) for precision in offered()}
    assert set(golden.probabilities) == {"tensorflow-f32", *names}
    assert (set(manifest.parity), manifest.conversion) == (names, "")
    assert {one.images for one in manifest.parity.values()} == {12}
    request = OpenVinoModel(folder, Precision.F32, streams=1, threads=1).request()
    files = [(folder / file).read_bytes() for file in golden.files]
    answers = [float(request.infer(orchard.pixels(data, manifest.image_size)[None])[0]) for data in files]
    np.testing.assert_allclose(answers, golden.probabilities["openvino-f32"], atol=1e-5)
    np.testing.assert_allclose(answers, golden.probabilities["tensorflow-f32"], atol=1e-4)


def test_a_version_that_cannot_be_converted_is_published_with_the_reason(tmp_path: Path) -> None:
    planted = orchard.plant(tmp_path)
    job = planted.claim()
    broken = replace(around(planted), converter=Converter(OwnProcess((sys.executable, "-c", "1 / 0"))))
    assert run(job, broken) is JobState.SUCCEEDED
    manifest = artifact.verify(planted.storage.local_folder("models/default/1"))
    assert manifest.conversion.startswith("There is no network for OpenVINO: retrain.tf_conversion: ended with")
    assert planted.job(job).progress.warnings == (manifest.conversion,)
    assert (manifest.parity, set(manifest.golden.probabilities)) == ({}, {"tensorflow-f32"})
    assert not [name for name in manifest.files if name.startswith("openvino")]


def test_no_users_image_is_in_a_versions_folder(published: tuple[Orchard, Job]) -> None:
    planted, _ = published
    manifest = artifact.read_manifest(planted.storage.local_folder("models/default/1"))
    rows = planted.database.list_examples("default")
    assert not {row.digest for row in rows} & set(manifest.files.values())
    uploaded = [planted.storage.get(row.storage_key) or b"" for row in rows]
    pixels = {orchard.pixels(data, manifest.image_size).tobytes() for data in uploaded}
    folder = planted.storage.local_folder("models/default/1")
    shown = [(folder / file).read_bytes() for file in manifest.golden.files] + warmup_images(folder)
    assert not pixels & {orchard.pixels(data, manifest.image_size).tobytes() for data in shown}
    everything = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert not any(data in everything for data in uploaded)
    assert not any(one in everything for one in pixels)


def warmup_images(folder: Path) -> list[bytes]:
    """The encoded images of the recorded requests."""
    found: list[bytes] = []
    for record in tf.data.TFRecordDataset(str(folder / WARMUP)):
        request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
        if "image_bytes" in request.inputs:
            found += request.inputs["image_bytes"].string_val
    assert found
    return found


def test_a_version_names_the_newest_example_that_was_read(published: tuple[Orchard, Job]) -> None:
    planted, _ = published
    newest = planted.database.list_examples("default")[-1]
    assert planted.database.get_version("default", 1).last_example == newest.id


def test_copies_follow_their_originals_and_leaks_are_in_the_report(tmp_path: Path) -> None:
    planted = orchard.plant(tmp_path)
    originals = [draw_jpeg(picture) for picture in itertools.islice(sample_pictures(), 12)]
    rows = [planted.add(data, "apple", Bucket.TRAIN) for data in originals]
    assert run(planted.claim(), around(planted)) is JobState.SUCCEEDED
    random = np.random.default_rng(1)
    copies = [everything(decode(data, LIMITS), random) for data in originals]
    files = [cv2.imencode(".png", copy[:, :, ::-1])[1].tobytes() for copy in copies]
    joined = [planted.add(data, "apple", None, key="ab" * 16) for data in files[:-1]]
    assert {one.bucket for one in joined} > {Bucket.TRAIN}
    leaking = planted.add(files[-1], "apple", Bucket.HOLDOUT, "leaking.png")
    before = {one.id: one for one in planted.database.list_examples("default") if one.settled}
    job = planted.claim(policy=GatePolicy.ALWAYS)
    assert run(job, around(planted)) is JobState.SUCCEEDED
    after = {one.id: one for one in planted.database.list_examples("default")}
    assert all(after[name] == one for name, one in before.items())
    for copy, original in zip(joined, rows, strict=False):
        assert (after[copy.id].bucket, after[copy.id].group_id) == (Bucket.TRAIN, original.digest)
    assert after[leaking.id].bucket is Bucket.EXCLUDED
    leaks = [artifact.read_manifest(planted.storage.local_folder(f"models/default/{n}")).leaks for n in (1, 2)]
    count = len(before)
    assert leaks[0] == LeakAudit(count, count, 1, count, 0, (), 0, 0, 0)
    bridge = Exclusion(leaking.id, "bridges", (rows[-1].id,))
    assert leaks[1] == LeakAudit(count + 12, count, 2, 12, 11, (bridge,), 1, 0, 0)
    assert "leaking.png" in planted.job(job).progress.warnings[0]
    manifest = artifact.read_manifest(planted.storage.local_folder("models/default/2"))
    assert sum(manifest.examples.values()) == count + 11


def test_a_job_that_cannot_train_settles_nothing(tmp_path: Path) -> None:
    planted = orchard.plant(tmp_path, {Bucket.TRAIN: 2, Bucket.HOLDOUT: 1})
    for row in planted.database.list_examples("default", label="apple", bucket=Bucket.TRAIN):
        planted.database.delete_example("default", row.id)
    key = "0" * 32
    drawn = (draw_jpeg(picture) for picture in sample_pictures())
    training = (data for data in drawn if choose_bucket(key, hashlib.sha256(data).hexdigest()) is Bucket.TRAIN)
    first, second = itertools.islice(training, 2)
    for data in (first, second):
        planted.add(data, "apple", None, key=key)
    mirrored = decode(first, LIMITS)[:, ::-1]
    planted.add(cv2.imencode(".png", mirrored[:, :, ::-1])[1].tobytes(), "apple", Bucket.HOLDOUT)
    job = planted.claim()
    assert run(job, around(planted)) is JobState.FAILED
    failure = planted.job(job).failure
    assert failure is not None
    assert "class 'apple' has 1 training image" in failure.message
    assert not any(one.settled for one in planted.database.list_examples("default"))


def test_things_before_one_camera_are_one_group_and_the_job_says_so(tmp_path: Path) -> None:
    """All pictures look the same, so that no bucket but one has any: a person hears why, and what to do."""
    planted = orchard.plant(tmp_path, {})
    scene = decode(draw_jpeg(next(iter(sample_pictures()))), LIMITS)
    random = np.random.default_rng(0)
    for number in range(40):
        seen = np.clip(scene + random.normal(0, 4, scene.shape), 0, 255).astype(np.uint8)
        data = cv2.imencode(".png", seen[:, :, ::-1])[1].tobytes()
        planted.add(data, orchard.CLASSES[number % 2], None, key="0" * 32)
    job = planted.claim()
    assert run(job, around(planted)) is JobState.FAILED
    failed = planted.job(job)
    assert failed.failure is not None
    assert failed.failure.code == "invalid_dataset"
    assert any("40 of 40 images are one group" in warning for warning in failed.progress.warnings)
    assert any("give each thing a `group` of its own" in warning for warning in failed.progress.warnings)


def test_a_job_that_lost_its_lease_settles_nothing(tmp_path: Path) -> None:
    planted = orchard.plant(tmp_path)
    job = planted.claim()
    before = planted.database.list_examples("default")
    with pytest.raises(LeaseLost):
        load_dataset(
            replace(job, attempt=job.attempt + 1),
            collect(planted.database, "default"),
            (32, 32),
            around(planted),
            Reporter(planted.database, job),
        )
    assert planted.database.list_examples("default") == before


def test_a_second_job_is_judged_beside_the_live_version(tmp_path: Path) -> None:
    planted = orchard.plant(tmp_path)
    run(planted.claim(), around(planted))
    job = planted.claim(replace(TINY, seed=5, image_size=40), GatePolicy.ALWAYS)
    assert run(job, around(planted)) is JobState.SUCCEEDED
    verdict = planted.job(job).verdict
    assert verdict is not None
    assert verdict.live_version == 1
    assert verdict.live == planted.database.get_version("default", 1).metrics
    assert planted.database.get_version("default", 2).parent == 1
    assert planted.database.get_model("default").live_version == 2


def test_a_broken_live_version_is_said_and_does_not_stop_the_next(tmp_path: Path) -> None:
    planted = orchard.plant(tmp_path)
    run(planted.claim(), around(planted))
    (planted.storage.local_folder("models/default/1") / "curves.png").write_bytes(b"altered")
    job = planted.claim()
    assert run(job, around(planted)) is JobState.SUCCEEDED
    ended = planted.job(job)
    assert "live version 1 cannot be measured" in ended.progress.warnings[0]
    assert ended.verdict is not None
    assert (ended.verdict.decision, ended.verdict.live) == (Decision.INCONCLUSIVE, None)
    assert "curves.png" in " ".join(ended.verdict.reasons)
    assert planted.database.get_model("default").live_version == 1


def test_a_dry_run_is_published_and_judged_and_does_not_go_live(tmp_path: Path) -> None:
    planted = orchard.plant(tmp_path)
    job = planted.claim(dry_run=True)
    assert run(job, around(planted)) is JobState.SUCCEEDED
    ended = planted.job(job)
    assert ended.verdict is not None
    assert (ended.dry_run, ended.version, ended.verdict.decision) == (True, 1, Decision.PROMOTE)
    assert "dry run" in ended.verdict.reasons[-1]
    assert ended.verdict == planted.database.get_version("default", 1).verdict
    assert planted.storage.local_folder("models/default/1").is_dir()
    assert planted.database.get_model("default").live_version is None
    assert planted.database.promote("default", 1, kind=ChangeKind.MANUAL, reason="good", actor="test").version == 1


def test_what_is_new_since_the_live_version_is_a_slice(tmp_path: Path) -> None:
    planted = orchard.plant(tmp_path)
    run(planted.claim(), around(planted))
    for seed in range(3):
        planted.add(orchard.picture("apple", 900 + seed), "apple", Bucket.HOLDOUT)
    job = planted.claim()
    run(job, around(planted))
    verdict = planted.job(job).verdict
    assert verdict is not None
    found = {one.slice: one.count for one in verdict.comparisons}
    assert found == {"all": 15, "class:apple": 9, "class:orange": 6, "fresh": 3}


class Meddling(SqlDatabase):
    """A person promotes version 2 while a job trains, or while it publishes."""

    while_it = "train"

    def report_progress(self, job_id: str, *, attempt: int, progress: Progress) -> None:
        super().report_progress(job_id, attempt=attempt, progress=progress)
        if progress.step == self.while_it and self.get_model("default").live_version == 1:
            self.promote("default", 2, kind=ChangeKind.MANUAL, reason="a person's choice")


@pytest.mark.parametrize(("while_it", "judged_beside"), [("train", 2), ("publish", 1)])
def test_a_persons_choice_during_the_job_counts(tmp_path: Path, while_it: str, judged_beside: int) -> None:
    planted = orchard.plant(tmp_path)
    for _ in range(2):
        run(planted.claim(replace(TINY, learning_rate=1e-3), GatePolicy.ALWAYS), around(planted))  # easily beaten
    planted.database.promote("default", 1, kind=ChangeKind.MANUAL, reason="back")
    database = Meddling(f"sqlite:///{tmp_path}/ripen.db")
    database.while_it = while_it
    job = planted.claim()
    few = Thresholds(least_holdout=12, resamples=200)
    assert run(job, replace(around(replace(planted, database=database)), thresholds=few)) is JobState.SUCCEEDED
    verdict = planted.job(job).verdict
    assert verdict is not None
    assert verdict.live_version == judged_beside
    assert planted.database.get_version("default", 3).parent == judged_beside
    live = planted.database.get_model("default").live_version
    assert (verdict.decision, live) == ((Decision.PROMOTE, 3) if judged_beside == 2 else (Decision.INCONCLUSIVE, 2))


class Away(ObjectStorage):
    """Cannot publish."""

    failure: RipenError = StorageUnavailable("no answer")

    def publish_folder(self, folder: Path, key: str) -> None:
        raise self.failure


def test_a_storage_that_is_away_is_not_the_jobs_failure(tmp_path: Path) -> None:
    planted = orchard.plant(tmp_path)
    away = Away((tmp_path / "storage").as_uri(), cache=tmp_path / "cache")
    job = planted.claim()
    with pytest.raises(StorageUnavailable):
        run(job, around(replace(planted, storage=away)))
    assert planted.job(job).state is JobState.RUNNING


def test_a_full_storage_fails_the_job(tmp_path: Path) -> None:
    planted = orchard.plant(tmp_path)
    full = Away((tmp_path / "storage").as_uri(), cache=tmp_path / "cache")
    full.failure = StorageFull("no space")
    job = planted.claim()
    assert run(job, around(replace(planted, storage=full))) is JobState.FAILED
    assert planted.job(job).failure == Failure("storage_full", "no space")


@pytest.mark.parametrize(
    ("counts", "recipe", "code", "words"),
    [
        ({}, TINY, "invalid_dataset", "no images"),
        ({Bucket.TRAIN: 1, Bucket.HOLDOUT: 1}, TINY, "invalid_dataset", "1 training image"),
        (orchard.COUNTS, replace(TINY, backbone="VGG17"), "training_failed", "expected one of"),
        (orchard.COUNTS, replace(TINY, weights="/no/such.h5"), "weights_unavailable", "such.h5"),
        (orchard.COUNTS, replace(TINY, learning_rate=1e-9), "degenerate_version", "standard deviation"),
    ],
)
def test_a_failure_is_recorded_in_words(
    tmp_path: Path, counts: dict[Bucket, int], recipe: Recipe, code: str, words: str
) -> None:
    planted = orchard.plant(tmp_path, counts)
    job = planted.claim(recipe)
    assert run(job, around(planted)) is JobState.FAILED
    failure = planted.job(job).failure
    assert failure is not None
    assert failure.code == code
    assert words in failure.message
    assert not (tmp_path / "storage" / "models").exists()
    assert planted.database.list_versions("default") == []


class Broken(SqlDatabase):
    """A database with one method replaced."""

    def get_model(self, name: str) -> Model:
        raise ZeroDivisionError("a defect\nof ours")


def test_an_unexpected_error_is_one_line_for_the_client(tmp_path: Path) -> None:
    planted = orchard.plant(tmp_path)
    job = planted.claim()
    broken = replace(planted, database=Broken(f"sqlite:///{tmp_path}/ripen.db"))
    assert run(job, around(broken)) is JobState.FAILED
    assert planted.job(job).failure == Failure("internal", "ZeroDivisionError: a defect")


class Losing(SqlDatabase):
    """Loses the lease in the moment a version is recorded."""

    def record_version(self, version: Version, *, attempt: int, promote: bool) -> Job:
        self.request_cancel(version.model, version.job_id)
        return super().record_version(version, attempt=attempt, promote=promote)


def test_a_version_that_comes_too_late_leaves_nothing(tmp_path: Path) -> None:
    planted = orchard.plant(tmp_path)
    job = planted.claim()
    losing = replace(planted, database=Losing(f"sqlite:///{tmp_path}/ripen.db"))
    with pytest.raises(LeaseLost):
        run(job, around(losing))
    assert list((tmp_path / "storage" / "models" / "default").iterdir()) == []
    assert planted.database.list_versions("default") == []
    assert json.loads((Workplace(tmp_path, job.id).folder / "job.json").read_bytes())["numbers"] == [1]


class Mute(SqlDatabase):
    """Cannot take progress."""

    def report_progress(self, job_id: str, *, attempt: int, progress: Progress) -> None:
        raise DatabaseUnavailable("busy")


def test_unreported_progress_is_no_reason_to_fail(tmp_path: Path) -> None:
    planted = orchard.plant(tmp_path)
    mute = replace(planted, database=Mute(f"sqlite:///{tmp_path}/ripen.db"))
    assert run(planted.claim(replace(TINY, tail_epochs=2)), around(mute)) is JobState.SUCCEEDED
