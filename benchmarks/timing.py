"""Medians of runs side by side in one process and one thread, peak memory in a process of its own, and the table of both."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path

import torch

BUILD = Path("build/bench")


@dataclass
class Row:
    """One line of the table.

    Attributes:
        work: what was computed.
        unit: milliseconds of one unit, a forward and backward pass of the same examples unless ``unit_name`` says otherwise.
        ours: our time over the unit.
        floor: the most that design.md allows.
        peers: name -> time over the unit; a string says why it is missing.
        memory: MiB at the peak, above what model and data take; None where it was not asked for.
        memory_floor: the most that design.md allows.
        spread: name -> (smallest, largest) of the repeats, over the unit.
        note: what a reader should know.
    """

    work: str
    unit: float
    ours: float
    floor: float
    peers: dict[str, float | str] = field(default_factory=dict)
    memory: float | None = None
    memory_floor: float | None = None
    spread: dict[str, tuple[float, float]] = field(default_factory=dict)
    note: str = ""
    unit_name: str = "fb"


def side_by_side(calls: dict[str, Callable[[], object]], *, repeats: int = 7, seconds: float = 20.0) -> dict[str, list[float]]:
    """Milliseconds of each call, taken in turns so that a busy machine slows all of them; fewer repeats beyond ``seconds`` in all."""
    for call in calls.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    begin = time.perf_counter()
    for repeat in range(repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            times[name].append((time.perf_counter() - start) * 1e3)
        if repeat >= 2 and time.perf_counter() - begin > seconds:
            break
    return times


def row(work: str, times: dict[str, list[float]], floor: float, *, unit: str = "fb", missing: dict[str, str] | None = None, **more) -> Row:
    """The row of what `side_by_side` measured: "ours" and ``unit`` are two of its names, the others are peers."""
    one = statistics.median(times[unit])
    ratios = {name: statistics.median(values) / one for name, values in times.items() if name != unit}
    spread = {name: (min(values) / one, max(values) / one) for name, values in times.items()}
    peers = {name: ratio for name, ratio in ratios.items() if name != "ours"} | (missing or {})
    return Row(work, one, ratios["ours"], floor, peers, spread=spread, unit_name=unit, **more)


def peak_memory(module: str, case: str) -> float | None:
    """MiB that ``module``'s ``memory_case(case)`` needs at its peak, in a fresh process: `memory_case` returns (warm up, work)."""
    if not Path("/proc/self/clear_refs").exists():
        return None
    command = [sys.executable, "-m", "benchmarks.timing", module, case]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"})
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        return None
    return float(done.stdout.split()[-1])


def _status(key: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) / 1024


def _measure(module: str, case: str) -> float:
    torch.set_num_threads(1)
    imported = __import__(module, fromlist=["memory_case"])
    warm_up, work = imported.memory_case(case)
    warm_up()
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    work()
    return _status("VmHWM") - before


def environment() -> dict[str, object]:
    """Machine and versions."""
    processor = platform.processor()
    if Path("/proc/cpuinfo").exists():
        names = [line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        processor = names[0] if names else processor
    versions = {}
    for package in ("torch", "numpy", "scipy", "scikit-learn", "curvlinops-for-pytorch", "sgdscope"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "device": device,
        "versions": versions,
    }


def report(name: str, rows: Sequence[Row]) -> None:
    """Prints the table and writes it as JSON beside the description of the machine."""
    BUILD.mkdir(parents=True, exist_ok=True)
    (BUILD / f"{name}.json").write_text(json.dumps([asdict(line) for line in rows], indent=1))
    (BUILD / "environment.json").write_text(json.dumps(environment(), indent=1))
    print(f"\n{name}: times over one unit (its milliseconds in brackets), medians, one thread")
    for line in rows:
        met = "met" if line.ours <= line.floor else "MISSED"
        peers = ", ".join(f"{peer} {value if isinstance(value, str) else format(value, '.2f')}" for peer, value in line.peers.items())
        low, high = line.spread.get("ours", (line.ours, line.ours))
        print(f"  {line.work} [{line.unit_name} {line.unit:.0f} ms]")
        print(f"    ours {line.ours:.2f} ({low:.2f} to {high:.2f}), floor {line.floor:g}: {met};  peers: {peers or 'none'}")
        if line.memory is not None:
            met = (
                ""
                if line.memory_floor is None
                else f", floor {line.memory_floor:g}: " + ("met" if line.memory <= line.memory_floor else "MISSED")
            )
            print(f"    peak memory {line.memory:.0f} MiB{met}")
        if line.note:
            print(f"    {line.note}")


if __name__ == "__main__":
    print(_measure(*sys.argv[1:3]))
