"""Runs a user's command until it ends, and keeps alive what it leaves running: `python -m runbook_lib.left_running`.

    kernel ── this process ── the hook ── …        while the hook runs
              this process ── a service            afterwards, for as long as the service lives

It detaches itself at once and adopts every orphan below it. So everything that a hook starts is below this process,
even after a double fork, a setsid or a change of environment, and whoever ends what a run leaves behind spares this
process. It stays while anything of the hook runs, and keeps reading its output.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass

from runbook_lib import programs
from runbook_lib.descendants import KEPT, adopt_orphans, children, end_children

_LONGEST = 64 * 1024
"""How many bytes of output are kept: the last ones."""

_LOOK_SECONDS = 0.05
_ANSWER_SECONDS = 30.0
"""How long after the limit the answer may come on a slow machine."""


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Args:
        code: its exit code, negative for a signal; None if it did not end by itself.
        problem: why it was not started, or what happened at its time limit; empty if it ended by itself.
        said: the end of its output on stdout and stderr.
        left: how many processes it left running.
    """

    code: int | None
    problem: str
    said: str = ""
    left: int = 0


def run_to_its_end(words: Sequence[str], *, environ: Mapping[str, str], seconds: float) -> Ended:
    """Run a command until its own process ends, or end it and its children after so many seconds.

    Processes that have detached themselves by then (their parent has ended) live on, also past the limit. The command
    also ends when the caller is interrupted or gone.

    Args:
        environ: the command's whole environment.
    """
    order = json.dumps({"words": list(words), "environ": dict(environ), "seconds": seconds})
    with subprocess.Popen(
        [sys.executable, "-P", "-m", KEPT],
        env=programs.for_python(os.environ),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as starter:
        assert starter.stdin is not None  # noqa: S101
        assert starter.stdout is not None  # noqa: S101
        with suppress(BrokenPipeError):
            starter.stdin.write(order.encode() + b"\n")
            starter.stdin.flush()
        answer = _read(starter.stdout.fileno(), time.monotonic() + seconds + _ANSWER_SECONDS)
        with suppress(BrokenPipeError):
            starter.stdin.close()
    try:
        return Ended(**json.loads(answer))
    except (ValueError, TypeError):
        return Ended(None, "was lost: the process that runs it did not answer")


def _read(source: int, until: float) -> bytes:
    found = b""
    poll = select.poll()
    poll.register(source, select.POLLIN)
    while poll.poll(max(0.0, 1000 * (until - time.monotonic()))):
        more = os.read(source, _LONGEST)
        if not more:
            break
        found += more
    return found


class _Command:
    """The command, its output and the processes it leaves."""

    def __init__(self, words: list[str], environ: dict[str, str]) -> None:
        self._output, theirs = os.pipe()
        os.set_blocking(self._output, False)
        self._said, self._open = b"", True
        self.code: int | None = None
        try:
            process = subprocess.Popen(words, env=environ, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs)
        finally:
            os.close(theirs)
        self.pid, process.returncode = process.pid, 0  # `look` waits for it, as for all others

    def look(self, seconds: float) -> None:
        """Wait at most so long, read the output, and note which processes have ended."""
        poll = select.poll()
        poll.register(0, 0)  # poll always reports POLLHUP
        if self._open:
            poll.register(self._output, select.POLLIN)
        poll.poll(1000 * seconds)
        self._read()
        with suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                if found[0] == self.pid:
                    self.code = os.waitstatus_to_exitcode(found[1])
        if self.code is not None:
            self._read()  # the rest of its output

    def _read(self) -> None:
        try:
            # at most what a pipe holds: somebody may write without end
            more = os.read(self._output, 1 << 20) if self._open else b""
        except BlockingIOError:
            return
        self._open = bool(more)
        self._said = (self._said + more)[-_LONGEST:]

    def end(self) -> bool:
        """Kill it and its descendants, except those that have detached themselves. Returns whether it is gone."""
        end_children(spare=set(children()) - {self.pid})
        return self.pid not in children()

    def ended(self, problem: str = "") -> Ended:
        said = self._said.decode("utf-8", "replace")
        return Ended(self.code, problem, said, len(set(children()) - {self.pid}))

    def keep_on(self) -> None:
        """Read the output until nothing of it runs, so that no process meets a full or closed pipe."""
        os.chdir("/")  # so that no folder stays in use
        while self._open or children():
            if self._open:
                poll = select.poll()
                poll.register(self._output, select.POLLIN)
                poll.poll(1000)
                self._read()
                time.sleep(_LOOK_SECONDS)  # endless output must not keep us busy
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG if self._open else 0)[0]:
                    pass


def _answer(ended: Ended) -> None:
    sys.stdout.write(json.dumps(asdict(ended)))
    sys.stdout.flush()
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):  # the caller reads to the end of the answer
        os.dup2(nothing, descriptor)


def _caller_is_gone() -> bool:
    poll = select.poll()
    poll.register(0, 0)
    return bool(poll.poll(0))


def main() -> None:
    if os.fork():
        os._exit(0)  # so that nobody has to wait for the child
    order = json.loads(sys.stdin.readline())
    if sys.platform == "linux":
        adopt_orphans()
    until = time.monotonic() + order["seconds"]
    try:
        command = _Command(order["words"], order["environ"])
    except (OSError, ValueError, IndexError) as error:
        _answer(Ended(None, f"could not be started: {getattr(error, 'strerror', None) or error}"))
        return
    while command.code is None and time.monotonic() < until and not _caller_is_gone():
        command.look(min(_LOOK_SECONDS, max(0.0, until - time.monotonic())))
    if command.code is not None:
        ended = command.ended()
    elif command.end():
        ended = command.ended(f"did not end in time: it was stopped after {order['seconds']} s")
    else:
        ended = command.ended(f"did not end within {order['seconds']} s and still runs: it belongs to another user")
    with suppress(BrokenPipeError):
        _answer(ended)
    command.keep_on()


if __name__ == "__main__":
    main()
