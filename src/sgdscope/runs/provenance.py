"""Where a number comes from: source, commit, machine, time and memory of a run."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sgdscope import paths
from sgdscope.errors import NotFound

VERSIONS_OF = ("torch", "numpy", "scipy", "pandas")


@dataclass(frozen=True)
class Provenance:
    """What produced a stored run."""

    fingerprint: str = ""  # of the source that the run depends on
    commit: str = ""  # of the checkout when the run began, with "+" where it had uncommitted changes; empty outside one
    created: str = ""  # UTC, ISO 8601
    seconds: float = 0.0  # wall time of the run (of a batch: its share)
    cpu_seconds: float = 0.0  # CPU time of the run (of a batch: its share)
    peak_mib: float = 0.0  # peak resident memory of the process while it ran
    resumed: bool = False  # went on from a checkpoint: times and memory are those since then
    batch: int = 1  # runs computed together
    device: str = "cpu"  # what the run used: the CUDA device if it held any of its memory
    device_mib: float = 0.0  # peak memory that it held there
    machine: str = ""  # architecture and system, no host name
    versions: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@lru_cache
def commit_of(folder: Path) -> str:
    """Commit of a checkout, with ``+`` appended if its files differ from it (untracked ones count where code lies); empty without git."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        head = git("rev-parse", "--short=12", "HEAD")
        edited = git("status", "--porcelain", "--untracked-files=no") or git("status", "--porcelain", "--", "src", "notebooks")
        return f"{head}+" if head and edited else head
    except FileNotFoundError:  # no git on this machine
        return ""


def present_commit() -> str:
    """Commit of the checkout that we run in; empty outside one."""
    try:
        return commit_of(paths.repository())
    except NotFound:
        return ""


@lru_cache
def versions() -> dict[str, str]:
    """Versions of Python, this package and the numerical libraries."""
    return {"python": platform.python_version(), **{name: version(name) for name in ("sgdscope", *VERSIONS_OF)}}


class Measured:
    """Time, memory and device of a block, filled when it ends."""

    seconds = cpu_seconds = peak_mib = device_mib = 0.0
    device = "cpu"
    resumed = False


@contextmanager
def measured() -> Iterator[Measured]:
    """Measure wall and CPU time (s), the peak memory (MiB) of a block, and which device it used."""
    use = Measured()
    _reset_peak()
    if cuda := _cuda():
        cuda.reset_peak_memory_stats()
    wall, cpu = time.perf_counter(), time.process_time()
    yield use
    use.seconds, use.cpu_seconds, use.peak_mib = time.perf_counter() - wall, time.process_time() - cpu, _peak_mib()
    if (cuda := _cuda()) and (held := cuda.max_memory_allocated()):
        use.device, use.device_mib = cuda.get_device_name(), held / 2**20


def _cuda() -> Any:
    """``torch.cuda`` if torch is loaded and has started a device, else None; never starts one."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_initialized() else None


def gpu_here() -> bool:
    """Whether torch is loaded and finds a CUDA device."""
    torch = sys.modules.get("torch")
    return torch is not None and torch.cuda.is_available()


def describe(use: Measured, *, fingerprint: str, commit: str, batch: int = 1) -> Provenance:
    """Provenance of a run that has just been measured."""
    return Provenance(
        fingerprint=fingerprint,
        commit=commit,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=use.seconds,
        cpu_seconds=use.cpu_seconds,
        peak_mib=use.peak_mib,
        resumed=use.resumed,
        batch=batch,
        device=use.device,
        device_mib=use.device_mib,
        machine=f"{platform.machine()} {platform.system()}, {os.cpu_count()} cores",
        versions=versions(),
    )


def _reset_peak() -> None:
    """Make the kernel forget the process's peak memory, where it can (Linux)."""
    with suppress(OSError):  # elsewhere the peak is the process's since its start: an upper bound
        Path("/proc/self/clear_refs").write_text("5")


def _peak_mib() -> float:
    """Peak resident memory (MiB) since the last reset, or since the start of the process."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024
