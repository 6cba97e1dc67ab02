"""A tiny installation for training: real SQLite, a real local folder, and drawn apples and oranges of a few pixels."""

import hashlib
import io
import secrets
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from backends.database import SqlDatabase
from backends.storage import ObjectStorage
from contract.images import ImageLimits, Pixels, decode_resized, inspect
from contract.recipe import Recipe
from contract.records import Bucket, Example, GatePolicy, Job, JobState, Progress
from service.split import choose_bucket

CLASSES = ("apple", "orange")
COUNTS = {Bucket.TRAIN: 12, Bucket.TUNE: 3, Bucket.CALIBRATE: 1, Bucket.HOLDOUT: 6}  # per class
TINY = Recipe(
    backbone="Compact",
    image_size=32,
    dense_units=16,
    head_epochs=1,
    tail_epochs=3,
    batch_size=8,
    learning_rate=0.01,
)
LIMITS = ImageLimits()


def picture(label: str, seed: int, form: str = "JPEG") -> bytes:
    """A noisy 48 x 40 image: apples are red, oranges are blue here, so that a few steps tell them apart."""
    noise = np.random.default_rng(seed).integers(0, 120, (40, 48, 3), dtype=np.uint8)
    noise[:, :, 0 if label == CLASSES[0] else 2] += 120
    file = io.BytesIO()
    Image.fromarray(noise).save(file, form)
    return file.getvalue()


def pixels(data: bytes, size: tuple[int, int]) -> Pixels:
    """An encoded image as a network of that (height, width) sees it."""
    return decode_resized(data, *size, LIMITS)


@dataclass(frozen=True)
class Orchard:
    """An installation below `home`, with one model `default`."""

    home: Path
    database: SqlDatabase
    storage: ObjectStorage

    def add(
        self, data: bytes, label: str, bucket: Bucket | None, file: str = "picture.jpg", *, key: str = ""
    ) -> Example:
        """Store an image; without a bucket, as the service would with that key."""
        header = inspect(data, LIMITS)
        digest = hashlib.sha256(data).hexdigest()
        example = Example(
            id=f"{time.time_ns():016x}{secrets.token_hex(4)}",
            model="default",
            digest=digest,
            label=label,
            bucket=bucket or choose_bucket(key, digest),
            group_id=digest,
            file=file,
            format=header.format,
            width=header.width,
            height=header.height,
            size_bytes=len(data),
            created_at=self.database.now(),
            bucket_named=bucket is not None,
        )
        self.storage.put(example.storage_key, data)
        return self.database.add_example(example)[0]

    def queue(self, recipe: Recipe = TINY, policy: GatePolicy = GatePolicy.BALANCED, *, dry_run: bool = False) -> Job:
        fresh = JobState.QUEUED, recipe, policy, Progress(), self.database.now()
        return self.database.create_job(Job(uuid.uuid4().hex, "default", *fresh, dry_run=dry_run))[0]

    def claim(self, recipe: Recipe = TINY, policy: GatePolicy = GatePolicy.BALANCED, *, dry_run: bool = False) -> Job:
        """Queue a job and claim it, as a worker does."""
        queued = self.queue(recipe, policy, dry_run=dry_run)
        claimed = self.database.claim_job(owner="test:1", lease_s=600, max_attempts=3)
        assert claimed is not None
        assert claimed.id == queued.id
        return claimed

    def job(self, job: Job) -> Job:
        return self.database.get_job("default", job.id)


def plant(home: Path, counts: Mapping[Bucket, int] = COUNTS) -> Orchard:
    """Make an installation whose model has `counts` images per class."""
    database = SqlDatabase(f"sqlite:///{home}/ripen.db")
    database.migrate()
    orchard = Orchard(home, database, ObjectStorage((home / "storage").as_uri(), cache=home / "cache"))
    database.create_model("default", CLASSES)
    seed = 0
    for bucket, count in counts.items():
        for label in CLASSES:
            for _ in range(count):
                seed += 1
                orchard.add(picture(label, seed), label, bucket, f"{label}-{seed}.jpg")
    return orchard
