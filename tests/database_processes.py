"""Several processes that come to one fresh database at once: they migrate it, create the same model, and claim."""

import subprocess
import sys

MIGRATE_AND_CLAIM = """
import sys
from backends.database import SqlDatabase
from contract.recipe import Recipe
from contract.records import GatePolicy, Job, JobState, Progress
database = SqlDatabase(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
database.migrate()
model = database.create_model("fruit", ("apple", "orange"))
job = Job(sys.argv[2], "fruit", JobState.QUEUED, Recipe(), GatePolicy.ALWAYS, Progress(), database.now(), "key")
database.create_job(job)
claimed = database.claim_job(owner=sys.argv[2], lease_s=60, max_attempts=3)
print(model.split_key, claimed is not None)
database.close()
"""


def check_migrate_and_claim(url: str) -> None:
    """All agree on the model, and one of them has the job."""
    command = [sys.executable, "-W", "error", "-c", MIGRATE_AND_CLAIM, url]
    pipe = subprocess.PIPE
    children = [subprocess.Popen([*command, f"w{n}"], stdin=pipe, stdout=pipe, text=True) for n in range(3)]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    answers = [child.communicate(timeout=60)[0].split() for child in children]
    assert [child.returncode for child in children] == [0, 0, 0]
    assert len({split_key for split_key, _ in answers}) == 1
    assert sorted(got for _, got in answers) == ["False", "False", "True"]
