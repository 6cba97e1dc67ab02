"""Starts `python -m retrain worker`, and `python -m retrain run JOB_ID`, which the worker starts. The only wiring."""

import argparse
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence

from backends.database import SqlDatabase
from backends.jobs import LocalProcessEngine
from backends.storage import ObjectStorage
from contract import lifeline
from contract.errors import DatabaseUnavailable, InvalidSetting, LeaseLost, RipenError, StorageUnavailable
from contract.images import ImageLimits
from contract.records import JobState, RuntimeChoice
from contract.settings import Settings
from retrain.features import FeatureCache
from retrain.retention import Retention
from retrain.worker import TRY_AGAIN, Claiming, Worker

LOG = logging.getLogger(__name__)
BAD_CONFIGURATION = 78  # EX_CONFIG


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    options = _parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        settings = Settings.from_environment()
        return work(settings) if options.command == "worker" else run_job(settings, options)
    except InvalidSetting as error:
        sys.stderr.write(f"{error}\n")
        return BAD_CONFIGURATION
    except RipenError as error:
        sys.stderr.write(f"{error.code}: {error}\n")
        return TRY_AGAIN if isinstance(error, DatabaseUnavailable | StorageUnavailable) else 1


def work(settings: Settings) -> int:
    """Claim and run jobs until SIGTERM, Ctrl-C, or the end of whoever started this."""
    database = SqlDatabase(settings.database_url)
    database.migrate()
    storage = ObjectStorage(settings.storage_url, cache=settings.home / "cache")
    worker = Worker(
        database,
        storage,
        engine=LocalProcessEngine(train_threads=settings.train_threads),
        home=settings.home,
        claiming=Claiming(f"{socket.gethostname()}:{os.getpid()}", settings.lease_s, settings.job_attempts),
        retention=Retention(database, storage, keep_versions=settings.keep_versions, clock=time.monotonic),
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.stop())
    lifeline.watch(worker.stop)
    worker.run()
    database.close()
    return 0


def run_job(settings: Settings, options: argparse.Namespace) -> int:
    """Run one claimed job in this process; 0 if its end, whichever it is, is recorded."""
    lifeline.watch(lambda: os._exit(1))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from retrain import job as jobs  # noqa: PLC0415  # loads TensorFlow, which the worker never needs
    from retrain import tf_export  # noqa: PLC0415  # the same
    from retrain.conversion import Converter  # noqa: PLC0415  # beside them
    from retrain.holdout import Thresholds  # noqa: PLC0415  # the same

    tf_export.prepare_device()
    for noisy in ("absl", "tensorflow"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    database = SqlDatabase(settings.database_url)
    around = jobs.Surroundings(
        database=database,
        storage=ObjectStorage(settings.storage_url, cache=settings.home / "cache"),
        home=settings.home,
        limits=ImageLimits(settings.max_image_bytes, settings.max_image_pixels),
        untrusted_share=settings.untrusted_share,
        converter=None if settings.runtime is RuntimeChoice.TENSORFLOW else Converter(),
        features=FeatureCache(settings.home / "features", most) if (most := settings.feature_cache_bytes) else None,
        thresholds=Thresholds.of(settings),
    )
    job = database.get_job(options.model, options.job_id)
    if job.attempt != options.attempt or job.state is not JobState.RUNNING:
        LOG.warning("job %s: attempt %d is over: %s, attempt %d", job.id, options.attempt, job.state, job.attempt)
        return 0
    try:
        jobs.run(job, around)
    except LeaseLost as error:
        LOG.warning("job %s: %s", job.id, error)
    finally:
        database.close()
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m retrain", description="Fine-tune new versions; never serve them.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("worker", help="claim queued jobs from the database and run each in a child process")
    run = commands.add_parser("run", help="run one claimed job in this process; started by the worker")
    run.add_argument("job_id", metavar="JOB_ID")
    run.add_argument("--model", required=True, help="the model that the job trains")
    run.add_argument("--attempt", type=int, required=True, help="the claim that this process works for")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
