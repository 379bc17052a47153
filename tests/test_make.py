"""What make stands on beside Snakemake: one call at a time, whatever an earlier one was killed by."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

ALONE = Path(__file__).parents[1] / "tools" / "alone.py"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="make runs on Linux and macOS")


def alone(lock, code, **options):
    """A Python command that runs alone under a lock."""
    return subprocess.Popen([sys.executable, ALONE, lock, sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, **options)


def test_a_command_gives_its_exit_status_and_holds_the_lock_no_longer(tmp_path):
    lock = tmp_path / "new" / "folder" / "lock"
    for status in (3, 0):
        process = alone(lock, f"raise SystemExit({status})")
        assert process.communicate(timeout=60)[1] == "" and process.returncode == status


@pytest.mark.parametrize("killed", [False, True])
def test_a_second_command_waits_for_the_first_to_end_in_whatever_way(tmp_path, killed):
    lock, done = tmp_path / "lock", tmp_path / "done"
    wait = f"import pathlib, sys; print('in', flush=True); sys.stdin.read(); pathlib.Path({str(done)!r}).touch()"
    first = alone(lock, wait, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert first.stdout.readline() == "in\n"
    second = alone(lock, f"import pathlib, sys; sys.exit(pathlib.Path({str(done)!r}).exists())")
    assert second.stderr.readline() == f"waiting for an earlier call, still at work ({lock})\n"
    assert second.poll() is None
    if killed:
        first.send_signal(signal.SIGKILL)
    first.communicate("", timeout=60)
    second.communicate(timeout=60)
    assert second.returncode == (not killed)


def test_without_a_command_it_says_how_to_call_it(tmp_path):
    process = subprocess.run([sys.executable, ALONE, tmp_path / "lock"], capture_output=True, text=True)
    assert process.returncode == 1 and "python tools/alone.py LOCK COMMAND" in process.stderr
