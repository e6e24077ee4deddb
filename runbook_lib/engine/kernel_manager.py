"""nbclient's kernel manager and kernel client for a forked kernel, at the caller's end of its channel.

Does not import papermill, which imports every known engine while it is imported itself.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from queue import Empty
from typing import Any

import ipykernel_launcher  # type: ignore[import-untyped]
from jupyter_client.client import KernelClient
from jupyter_client.kernelspec import NATIVE_KERNEL_NAME, KernelSpec, KernelSpecManager
from jupyter_client.session import Session
from jupyter_core.paths import jupyter_path

from runbook_lib.engine import channel
from runbook_lib.engine.kernels import Keeper, send_signal

_GRACE_SECONDS = 5.0
"""How long a kernel may take for its exit hooks, like jupyter_client's `shutdown_wait_time`."""


class _Channel:
    """A kernel's shell or iopub channel."""

    def __init__(self, kernel: ForkedKernelManager, name: bytes) -> None:
        self._kernel, self._name = kernel, name
        self.waiting: deque[dict[str, Any]] = deque()

    def send(self, message: dict[str, Any]) -> None:
        self._kernel.session.send(self, message)  # type: ignore[arg-type]

    def send_multipart(self, frames: list[bytes], **_: object) -> None:
        channel.send_message(self._kernel.socket, self._name, frames)

    async def get_msg(self, timeout: float | None = None) -> dict[str, Any]:
        """The next message. Raises queue.Empty after `timeout` seconds."""
        until = None if timeout is None else time.monotonic() + timeout
        while not self.waiting:
            left = None if until is None else until - time.monotonic()
            if left is not None and left <= 0:
                raise Empty
            await self._kernel.news(left)
        return self.waiting.popleft()

    def start(self) -> None: ...
    def stop(self) -> None: ...

    def is_alive(self) -> bool:
        return True


class ForkedKernelManager:
    """nbclient's kernel manager for a forked kernel.

    Args:
        keeper: forks it.
        cwd: the kernel's working directory.
        environ: its environment.
        log: the file for its other output than that of cells; by default this process's standard error.

    Raises:
        NoKernel: it could not be forked.
    """

    has_kernel = True

    def __init__(self, keeper: Keeper, *, cwd: Path, environ: Mapping[str, str], log: Path | None = None) -> None:
        self._keeper = keeper
        self.socket, self._handle = keeper.kernel()
        self.session = Session(key=channel.KEY)
        self.shell, self.iopub = _Channel(self, channel.SHELL), _Channel(self, channel.IOPUB)
        self._channels = {channel.SHELL: self.shell, channel.IOPUB: self.iopub}
        self._assembler = channel.Assembler()
        self._news: list[asyncio.Future[None]] = []
        self._watched: asyncio.AbstractEventLoop | None = None
        self._hung_up = False
        hello = {
            "cwd": str(cwd),
            "environ": dict(environ),
            "argv": [str(ipykernel_launcher.__file__)],
            "log": None if log is None else str(log),
        }
        channel.send_message(self.socket, channel.SHELL, [json.dumps(hello).encode("utf-8", "surrogatepass")])

    async def news(self, timeout: float | None) -> None:
        """Wait until a message has come, or for `timeout` seconds."""
        loop = asyncio.get_running_loop()
        if self._watched is not loop:
            loop.add_reader(self.socket, self._read)
            self._watched = loop
        future = loop.create_future()
        self._news.append(future)
        try:
            await asyncio.wait_for(future, timeout)
        except TimeoutError:
            return
        finally:
            if future in self._news:
                self._news.remove(future)

    def _read(self) -> None:
        try:
            packet = channel.receive(self.socket)
        except ConnectionError:
            packet = b""
        if not packet:
            self._hung_up = True
            self._stop_watching()  # nbclient checks every second whether the kernel is alive
            return
        found = self._assembler.feed(packet)
        if found is None:
            return
        _, frames = self.session.feed_identities(found[1])
        self._channels[found[0]].waiting.append(self.session.deserialize(frames))
        for future in self._news:
            if not future.done():
                future.set_result(None)

    def _stop_watching(self) -> None:
        if self._watched is not None and not self._watched.is_closed():
            self._watched.remove_reader(self.socket)

    def client(self) -> ForkedKernelClient:
        return ForkedKernelClient(self)

    def is_alive(self) -> bool:
        """Whether it can still answer. A kernel that replaced itself (`os.execv`) lives, but has closed its channel."""
        poll = select.poll()
        poll.register(self._handle, select.POLLIN)
        return not self._hung_up and not poll.poll(0)

    def interrupt_kernel(self) -> None:
        send_signal(self._handle, signal.SIGINT)

    def shutdown_kernel(self) -> None:
        """Let it run its exit hooks, then kill it and everything that it started."""
        if self.socket.fileno() < 0:
            return
        self._stop_watching()
        poll = select.poll()
        poll.register(self._handle, select.POLLIN)
        poll.register(self.socket, select.POLLIN)
        until = time.monotonic() + _GRACE_SECONDS
        try:
            self.socket.shutdown(socket.SHUT_WR)
            while (left := until - time.monotonic()) > 0:
                ready = dict(poll.poll(1000 * left))
                if self._handle in ready:
                    break
                if self.socket.fileno() in ready and not channel.receive(self.socket):
                    poll.unregister(self.socket)
        except OSError:  # it is gone already
            pass
        send_signal(self._handle, signal.SIGKILL)
        self.socket.close()
        os.close(self._handle)
        self._keeper.wait()


class ForkedKernelClient(KernelClient):
    """nbclient's kernel client."""

    def __init__(self, kernel: ForkedKernelManager) -> None:
        super().__init__(session=kernel.session)
        self._kernel = kernel

    @property
    def shell_channel(self) -> _Channel:
        return self._kernel.shell

    @property
    def iopub_channel(self) -> _Channel:
        return self._kernel.iopub

    def start_channels(self, *_: object, **__: object) -> None: ...
    def stop_channels(self) -> None: ...

    def wait_for_ready(self, timeout: float | None = None) -> None:
        """Does nothing: the channel keeps messages until the kernel reads them."""

    def is_alive(self) -> bool:
        return self._kernel.is_alive()


def _kernel_folders() -> list[str]:
    """Where jupyter_client looks for kernels, in its order; by itself it would import all of IPython to find out."""
    ipython = Path(os.path.expanduser(os.environ.get("IPYTHONDIR") or "~/.ipython"))  # noqa: PTH111  (there may be no home)
    return [*jupyter_path("kernels"), str(ipython / "kernels")]


def forkable(metadata: Mapping[str, Any]) -> bool:
    """Whether a notebook's kernel can be forked: it uses this interpreter, and does not opt out.

    Args:
        metadata: the notebook's; `{"runbook": {"engine": "papermill"}}` opts out.
    """
    if sys.platform != "linux" or metadata.get("runbook", {}).get("engine") == "papermill":
        return False
    name = (metadata.get("kernelspec", {}).get("name") or NATIVE_KERNEL_NAME).lower()
    kernels = KernelSpecManager(kernel_dirs=_kernel_folders(), ensure_native_kernel=False).find_kernel_specs()
    if name not in kernels:
        return bool(name == NATIVE_KERNEL_NAME)
    spec = KernelSpec.from_resource_dir(kernels[name])
    ours = spec.argv[:1] in ([sys.executable], ["python"], ["python3"]) and "ipykernel_launcher" in spec.argv
    return ours and not spec.env
