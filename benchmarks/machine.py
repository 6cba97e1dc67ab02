"""The machine and the packages that figures belong to."""

import importlib.metadata
import os
import platform
from dataclasses import dataclass
from pathlib import Path

PACKAGES = (
    "openvino",
    "tensorflow",
    "keras",
    "opencv-python-headless",
    "simplejpeg",
    "grpcio",
    "fastapi",
    "numpy",
)
FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")


@dataclass(frozen=True)
class Machine:
    """What `/proc` and the installed packages say."""

    processor: str
    cores: int
    features: tuple[str, ...]
    memory_bytes: int
    system: str
    python: str
    packages: dict[str, str]

    def __str__(self) -> str:
        wide = [name for name in self.features if name in ("avx512_bf16", "amx_bf16")]
        return f"{self.processor}, {self.cores} cores{', ' + ', '.join(wide) if wide else ''}"


def describe() -> Machine:
    """This machine."""
    told = dict(_pairs(Path("/proc/cpuinfo").read_text().split("\n\n", maxsplit=1)[0]))
    flags = told.get("flags", "").split()
    return Machine(
        processor=told.get("model name", platform.machine()),
        cores=len(os.sched_getaffinity(0)),
        features=tuple(name for name in FEATURES if name in flags),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        system=platform.platform(),
        python=platform.python_version(),
        packages={name: importlib.metadata.version(name) for name in PACKAGES},
    )


def _pairs(text: str) -> list[tuple[str, str]]:
    lines = (line.partition(":") for line in text.splitlines())
    return [(name.strip(), value.strip()) for name, _, value in lines]
