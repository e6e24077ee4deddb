"""A process that has imported everything, and forks a child for each story, stopped before its first system call.

So strace can be attached first, and the k-th write it counts is the story's own k-th write. Lines of JSON on stdin and
stdout; what a child ended with comes back through shared memory, since a write would be one of those counted.
"""

from __future__ import annotations

import ctypes
import gc
import json
import mmap
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOM = 65536
PR_SET_PTRACER = 0x59616D61
PR_SET_PTRACER_ANY = ctypes.c_ulong(-1)


@dataclass(frozen=True)
class Ended:
    """How a story's process ended.

    Args:
        killed: by SIGKILL.
        error: the RunbookError it ended with, as a dict; None where all was done.
        crash: the traceback of any other exception, which is a defect.
    """

    killed: bool
    error: dict[str, Any] | None
    crash: str

    @property
    def done(self) -> bool:
        return not (self.killed or self.error or self.crash)

    @property
    def reason(self) -> str:
        return "" if self.error is None else str(self.error["reason"])


class Worker:
    """Runs stories, each in a child of its own."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.soak.worker"],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(timeout=30)

    def warm(self, story: str, name: str, environ: Mapping[str, str]) -> None:
        """Play a story in the worker itself: what is imported on first use is then imported before every fork."""
        assert self._ask({"warm": {"story": story, "name": name, "environ": dict(environ)}}) is None

    def start(self, story: str, name: str, environ: Mapping[str, str], **given: Any) -> int:
        """Fork a child that is stopped at the beginning of the story; its process id."""
        return int(self._ask({"story": story, "name": name, "environ": dict(environ), "given": given}))

    def end(self, pid: int) -> Ended:
        """Wait for a child that was continued."""
        return Ended(**self._ask({"wait": pid}))

    def run(self, story: str, name: str, environ: Mapping[str, str], **given: Any) -> Ended:
        """A whole story, undisturbed."""
        pid = self.start(story, name, environ, **given)
        os.kill(pid, signal.SIGCONT)
        return self.end(pid)

    def trace(self, options: list[str], story: str, name: str, environ: Mapping[str, str]) -> tuple[Ended, str]:
        """A whole story under strace with these options; how it ended, and what strace wrote."""
        pid = self.start(story, name, environ)
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / "strace"
            with attached(pid, ["-o", str(output), *options]):
                os.kill(pid, signal.SIGCONT)
                ended = self.end(pid)
            return ended, output.read_text(errors="replace")

    def _ask(self, question: dict[str, Any]) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@contextmanager
def attached(pid: int, options: list[str]) -> Iterator[None]:
    """strace attached to a stopped process."""
    strace = subprocess.Popen(["strace", *options, "-p", str(pid)], stderr=subprocess.PIPE, text=True)
    assert strace.stderr
    try:
        said = strace.stderr.readline()
        assert "attached" in said, said
        yield
    finally:
        strace.wait(timeout=120)
        strace.stderr.close()


# --- in the worker's own process --------------------------------------------------------------------------------------


def _child(job: dict[str, Any], answer: mmap.mmap) -> None:
    from tests.soak.stories import STORIES

    ctypes.CDLL(None).prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0)
    os.kill(os.getpid(), signal.SIGSTOP)
    ended: dict[str, Any] = {"killed": False, "error": None, "crash": ""}
    try:
        ended["error"] = STORIES[job["story"]](job["name"], job["environ"], **job["given"])
    except BaseException:  # noqa: BLE001 - whatever it is, it is told
        ended["crash"] = traceback.format_exc()
    answer[:] = json.dumps(ended).encode()[:ROOM].ljust(ROOM)
    os._exit(0)


def main() -> None:
    """Answer questions until stdin ends."""
    from tests.soak.stories import STORIES

    answers: dict[int, mmap.mmap] = {}
    for line in sys.stdin:
        question = json.loads(line)
        if "warm" in question:
            job = question["warm"]
            print(json.dumps(STORIES[job["story"]](job["name"], job["environ"])), flush=True)
            gc.freeze()
        elif "wait" in question:
            pid = question["wait"]
            _, status = os.waitpid(pid, 0)
            memory = answers.pop(pid)
            if os.WIFSIGNALED(status):
                assert os.WTERMSIG(status) == signal.SIGKILL, status
                print(json.dumps({"killed": True, "error": None, "crash": ""}), flush=True)
            else:
                print(memory[:].decode().strip(), flush=True)
            memory.close()
        else:
            memory = mmap.mmap(-1, ROOM)
            pid = os.fork()
            if pid == 0:
                _child(question, memory)
            os.waitpid(pid, os.WUNTRACED)
            answers[pid] = memory
            print(pid, flush=True)


if __name__ == "__main__":
    main()
