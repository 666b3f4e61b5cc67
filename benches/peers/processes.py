"""Programs that are started here: bounded in time, and ended by their own process ids."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

# How long a server may take to stop in order before it is killed.
STOPPING = 20


class Skipped(Exception):
    """A system cannot be measured here, and why."""


class Failed(Exception):
    """A system was there, and did not do what it should."""


class Deadline:
    """When a round of one system has to be over."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.end = time.monotonic() + seconds

    def left(self) -> float:
        """The seconds that are left; raises where there are none."""
        left = self.end - time.monotonic()
        if left <= 0:
            raise Failed(f"it took longer than {self.seconds:.0f} s")
        return left


def find(program: str, remedy: str) -> str:
    """A program on the PATH, beside it in `sbin`, or at a path; or the reason to skip what needs it."""
    found = shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin")
    if not found:
        raise Skipped(f"there is no {program} ({remedy})")
    # Programs are started in other directories than this one.
    return os.path.abspath(found)


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody uses now. All are held until all are found, so that they differ."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def run(command: list[str], deadline: Deadline, stdin: str = "", **options) -> str:
    """What a program prints, once it ended well. Where it does not, or not in time, this fails and leaves nothing."""
    name, pipe = Path(command[0]).name, subprocess.PIPE
    # A session of its own: it may have started others, which end with it.
    process = subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, start_new_session=True, **options
    )
    try:
        said, complained = process.communicate(stdin, timeout=deadline.left())
    except subprocess.TimeoutExpired:
        raise Failed(f"{name} took longer than was left of {deadline.seconds:.0f} s") from None
    finally:
        if process.returncode is None:
            end_session(process)
    if process.returncode != 0:
        raise Failed(f"{name} ended with {process.returncode}: {last_line(complained)}")
    return said


def end_session(process: subprocess.Popen) -> None:
    """Ends a program and what it started. It was not waited for yet, so its id is still its own and its session's."""
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.communicate(timeout=STOPPING)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "it said nothing")


@contextlib.contextmanager
def server(
    command: list[str], log: Path, stop: signal.Signals = signal.SIGTERM, **options
) -> Iterator[subprocess.Popen]:
    """A server that runs for as long as the block. Its output goes to a file."""
    with log.open("wb") as output:
        # A session of its own: an interrupt at the terminal reaches this program, which then stops the server in order.
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, **options
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(stop)
        try:
            process.wait(STOPPING)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def check_alive(process: subprocess.Popen, log: Path) -> None:
    """Fails where a server has ended that should not have."""
    if process.poll() is not None:
        said = log.read_text(errors="replace") if log.exists() else ""
        raise Failed(f"{Path(process.args[0]).name} ended with {process.returncode}: {last_line(said)}")


def until_open(port: int, process: subprocess.Popen, log: Path, deadline: Deadline) -> None:
    """Waits until a server that was started just now listens on a port of loopback."""
    while True:
        check_alive(process, log)
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        deadline.left()
        time.sleep(0.05)


@contextlib.contextmanager
def directory(owner: int | None = None) -> Iterator[Path]:
    """A temporary directory, given to a user where one is named. `TMPDIR` says on which disk."""
    with tempfile.TemporaryDirectory(prefix="antiphon-peers-") as name:
        if owner is not None:
            os.chown(name, owner, -1)
        yield Path(name)
