"""What `kubectl apply -k` would send: k8s/ rendered by the pinned kustomize. Without it: skipped, failed in CI."""

import functools
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
KUSTOMIZE = ROOT / ".venv" / "tools" / "kustomize"
Manifest = dict[str, Any]


def tool(name: str | Path, install: str) -> str:
    """The path of a program; where it is missing, CI fails and another machine skips."""
    path = shutil.which(name)
    if path is None and os.environ.get("CI"):
        pytest.fail(f"{name} is missing; {install}")
    if path is None:
        pytest.skip(f"{name} is missing; {install}")
    return path


@functools.cache
def render(folder: str) -> list[Manifest]:
    """Every object of `k8s/<folder>`."""
    command = [tool(KUSTOMIZE, "make tools"), "build", str(ROOT / "k8s" / folder)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")  # a deprecated field is a warning
    return list(yaml.safe_load_all(done.stdout))


def only(manifests: list[Manifest], kind: str, name: str | None = None) -> Manifest:
    """The one object of that kind, and name."""
    (found,) = (m for m in manifests if m["kind"] == kind and name in (None, m["metadata"]["name"]))
    return found


def workloads(manifests: list[Manifest]) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] in ("StatefulSet", "Deployment")]


def pods(manifests: list[Manifest]) -> list[Manifest]:
    """The spec of each pod template."""
    return [workload["spec"]["template"]["spec"] for workload in workloads(manifests)]


def containers(manifests: list[Manifest]) -> list[Manifest]:
    """Every container, those that run first too."""
    return [each for pod in pods(manifests) for each in [*pod.get("initContainers", []), *pod["containers"]]]
