"""What can be said of the images unbuilt; `make image-check` builds and runs them, `make lint` runs hadolint."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
PINNED = re.compile(r"^([a-z0-9._-]+)==([^ ;]+)", re.MULTILINE)


def test_every_image_runs_as_nobody_on_what_runtime_is() -> None:
    stages = re.findall(r"^FROM (\S+) AS (\S+)$", DOCKERFILE, re.MULTILINE)
    finals = [name for parent, name in stages if parent == "runtime"]
    assert finals == ["service", "service-gpu", "retrain"]
    assert {parent for parent, _ in stages if "/" in parent or ":" in parent} == {"python:3.11-slim-bookworm"}
    runtime = DOCKERFILE.split(" AS runtime\n")[1].split("\nFROM ")[0]
    assert "USER 10001:10001" in runtime
    assert not re.search(r"^(USER|RUN)", DOCKERFILE.split(" AS runtime\n")[1].split("\nFROM ", 1)[1], re.MULTILINE)


def test_no_image_opens_itself() -> None:
    settings = set(re.findall(r"\b(RIPEN_[A-Z_]+)=", DOCKERFILE))
    assert settings == {"RIPEN_HOME"}


def test_everything_is_downloaded_with_hashes_and_installed_without_the_network() -> None:
    runs = re.findall(r"^RUN .*?(?<!\\)$", DOCKERFILE, re.MULTILINE | re.DOTALL)
    downloads = [run for run in runs if "pip download" in run]
    assert len(downloads) == 2
    assert all("--require-hashes" in run for run in downloads)
    installs = [run for run in runs if " install --no-cache-dir" in run]
    assert len(installs) == 3
    assert all("--no-index" in run for run in installs)


def test_the_lock_of_the_gpu_image_agrees_with_the_lock() -> None:
    gpu = (ROOT / "requirements-gpu.lock").read_text()
    pinned = dict(PINNED.findall((ROOT / "requirements.lock").read_text()))
    pinned_gpu = dict(PINNED.findall(gpu))
    assert "://" not in gpu
    assert gpu.count("--hash=sha256:") >= len(pinned_gpu)
    alone = pinned_gpu.items() - pinned.items()
    assert alone
    assert all(name.startswith("nvidia-") for name, _ in alone)


def test_the_build_sees_the_package_and_nothing_else() -> None:
    lines = (ROOT / ".dockerignore").read_text().split()
    seen = {line[1:] for line in lines if line.startswith("!")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    assert seen == packages | {"LICENSE", "README.md", "pyproject.toml", "requirements*.lock"}
    assert {line for line in lines if not line.startswith(("#", "!"))} >= {"*", "**/__pycache__"}
