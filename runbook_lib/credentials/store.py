"""The store: the folder of credentials on disk.

    <store>/<environment>/<name>/0001/         identity.p12  cert.pem  chain.pem  meta.json
    <store>/<environment>/<name>/.staging-0002/  a generation being made; its key is sealed
    <store>/<environment>/<name>/current       symlink to the generation in use
    <store>/<environment>/<name>/journal.jsonl
    <store>/<environment>/<name>/.lock

A generation is written aside, fsynced, renamed into place and never edited. One rename of `current` puts it into use.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from runbook_lib import disk, given
from runbook_lib.credentials.files import TEMPORARY, make_private, oserror, refuse_exposed, write_atomic
from runbook_lib.credentials.generation import CERTIFICATE, CHAIN, IDENTITY, META, Generation
from runbook_lib.disk import sync_folder
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.rules import is_certificate_name

SEALED_KEY = "key.pem"
"""The sealed key in a staging folder. The commit deletes it: the P12 holds the key then."""

_ENVIRONMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")  # a short name or a host's
_NUMBER = re.compile(r"\d{4,9}")


class Credential:
    """All generations of one certificate name in one environment. It need not exist on disk yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = folder.parent.name
        self.name = folder.name

    def __repr__(self) -> str:
        return f"Credential({self.environment!r}, {self.name!r})"

    @property
    def journal_path(self) -> Path:
        return self.folder / "journal.jsonl"

    @property
    def p12(self) -> Path:
        """The path that programs use: the P12 of the generation in use."""
        return self.folder / "current" / IDENTITY

    def generations(self) -> list[Generation]:
        """The committed generations, oldest first."""
        return sorted(
            (Generation(path) for path in _folders(self.folder) if _NUMBER.fullmatch(path.name)),
            key=lambda generation: generation.number,
        )

    def generation(self, number: int | None) -> Generation:
        """The committed generation of that number. Raises RunbookError (STATE_CONTRADICTION) if there is none."""
        for generation in self.generations():
            if generation.number == number:
                return generation
        raise RunbookError(
            Reason.STATE_CONTRADICTION,
            f"The journal names generation {number or 0:04d}, but it is not in the store.",
        )

    def current(self) -> Generation | None:
        """The generation in use; None if there is none yet.

        Raises:
            RunbookError: UNREADABLE_FILE if `current` does not point to a generation of this credential.
        """
        link = self.folder / "current"
        if not os.path.lexists(link):
            return None
        try:
            target = str(link.readlink())
        except OSError as error:
            raise oserror(error, link, reading=True) from None
        if not _NUMBER.fullmatch(target) or not (self.folder / target).is_dir():
            raise RunbookError(
                Reason.UNREADABLE_FILE,
                f"{link} points to {target!r}, which is not a generation next to it.",
                remedy=f"Point it to an existing generation: ln -sfn NUMBER '{link}'.",
            )
        return Generation(self.folder / target)

    def next_number(self) -> int:
        """The number after the last committed or retired generation; a staging folder of that number is resumed."""
        names = (path.name.removeprefix(".retired-") for path in _folders(self.folder))
        numbers = [int(name) for name in names if _NUMBER.fullmatch(name)]
        return max(numbers, default=0) + 1

    def staging(self, number: int) -> Path:
        """The folder in which generation `number` is made. Makes it, private, if it is missing.

        Raises:
            RunbookError: STORE_EXPOSED, STORE_NOT_WRITABLE or DISK_FULL.
        """
        folder = self.folder / f".staging-{number:04d}"
        self._make()
        make_private(folder)
        return folder

    def write(self, path: Path, data: bytes, *, mode: int = 0o600) -> None:
        """Write a file of a staging folder, complete and durable, or not at all.

        Raises:
            RunbookError: DISK_FULL or STORE_NOT_WRITABLE.
        """
        if path.parent.parent != self.folder or not path.parent.name.startswith(".staging-"):
            raise ValueError(f"{path} is not in a staging folder of {self!r}; a generation is never edited")
        write_atomic(path, data, mode=mode)

    def commit(self, number: int) -> Generation:
        """Put a complete staging folder in place as generation `number`; its files become read-only.

        Everything else in the folder is deleted, the sealed key first: the P12 has the key.

        Raises:
            RunbookError: STORE_NOT_WRITABLE if the generation exists already, DISK_FULL, or UNREADABLE_FILE if one of
                the four files is missing.
        """
        staging, folder = self.staging(number), self.folder / f"{number:04d}"
        if os.path.lexists(folder):
            raise RunbookError(Reason.STORE_NOT_WRITABLE, f"{folder} exists already and is never overwritten.")
        content = (IDENTITY, CERTIFICATE, CHAIN, META)
        missing = [name for name in content if not (staging / name).is_file()]
        if missing:
            raise RunbookError(Reason.UNREADABLE_FILE, f"{staging} is incomplete. Missing: {', '.join(missing)}.")
        try:
            # the key first: while it exists, the P12 may be made again, and that needs the other files
            (staging / SEALED_KEY).unlink(missing_ok=True)
            for path in staging.iterdir():
                if path.name in content:
                    path.chmod(0o400)
                else:
                    path.unlink()
            sync_folder(staging)
            staging.rename(folder)
            sync_folder(self.folder)
        except OSError as error:
            raise oserror(error, folder) from None
        return Generation(folder)

    def make_current(self, generation: Generation) -> None:
        """Put a generation into use by one rename: a reader of `current` sees the old one or the new one.

        Raises:
            RunbookError: STORE_NOT_WRITABLE or DISK_FULL.
        """
        if generation.folder.parent != self.folder:
            raise ValueError(f"{generation!r} is not a generation of {self!r}")
        aside = self.folder / f".current.{secrets.token_hex(8)}{TEMPORARY}"
        try:
            aside.symlink_to(generation.folder.name)
            try:
                aside.replace(self.folder / "current")
            except BaseException:
                aside.unlink()
                raise
            sync_folder(self.folder)
        except OSError as error:
            raise oserror(error, self.folder / "current") from None

    def is_retired(self, number: int) -> bool:
        """Whether a generation's key was deleted, or its deletion started."""
        return (self.folder / f".retired-{number:04d}").is_dir()

    def retire(self, generation: Generation) -> None:
        """Delete a generation's key for good: its folder becomes `.retired-NNNN`, and its P12 is deleted.

        Certificate and meta.json stay as a record. A second call finishes what was interrupted.

        Raises:
            RunbookError: CERTIFICATE_IN_USE if `current` points to it; STORE_NOT_WRITABLE.
        """
        current = self.current()
        if current is not None and current.number == generation.number:
            raise RunbookError(
                Reason.CERTIFICATE_IN_USE, f"{self.folder / 'current'} points to {generation.folder.name}."
            )
        retired = self.folder / f".retired-{generation.number:04d}"
        try:
            if generation.folder.exists():
                generation.folder.rename(retired)
                sync_folder(self.folder)
            retired.chmod(0o700)
            (retired / IDENTITY).unlink(missing_ok=True)
            sync_folder(retired)
        except OSError as error:
            raise oserror(error, retired) from None

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock this credential against other runs. The kernel releases the lock when its owner ends, however it ends.

        Raises:
            RunbookError: BUSY, with the holder's process number and start; STORE_EXPOSED, STORE_NOT_WRITABLE.
        """
        self._make()
        path = self.folder / ".lock"
        with ExitStack() as held:
            try:
                held.enter_context(disk.locked(path, busy=f"“{self.name}” is locked by"))
            except OSError as error:
                raise oserror(error, path) from None
            yield

    def _make(self) -> None:
        for folder in (self.folder.parent.parent, self.folder.parent, self.folder):
            make_private(folder)


class Store:
    """The folder of all credentials. It is not touched before it is used."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def default(cls, environ: Mapping[str, str]) -> Store:
        """The store of DIGICERT_ONE_STORE, else ~/.digicert/certs as in the tutorial.

        Raises:
            RunbookError: BAD_PARAMETER if that is not a path, or this user has no home folder.
        """
        named = environ.get("DIGICERT_ONE_STORE")
        try:
            return cls(given.path(named, environ) if named else given.home(environ) / ".digicert" / "certs")
        except ValueError as error:
            what = f"DIGICERT_ONE_STORE: {error}." if named else f"The store: {error}."
            remedy = "Set the parameter `store`, or the variable DIGICERT_ONE_STORE, to the store's folder."
            raise RunbookError(Reason.BAD_PARAMETER, what, remedy=remedy) from None

    def credential(self, environment: str, name: str) -> Credential:
        """The credential of that name; it need not be on disk yet.

        Raises:
            RunbookError: BAD_PARAMETER if environment or name is not safe as a folder name.
        """
        if not _ENVIRONMENT.fullmatch(environment):
            raise RunbookError(Reason.BAD_PARAMETER, f"environment: {environment!r} cannot be a folder name.")
        if not is_certificate_name(name):
            raise RunbookError(
                Reason.BAD_PARAMETER,
                f"name: {_short(name)} must have 1 to 128 letters, digits, spaces, dashes and underscores, start with "
                "a letter or digit, and not end with a space.",
            )
        return Credential(self.root / environment / name)

    def environments(self) -> list[str]:
        """The environments that have a folder, sorted."""
        return sorted(path.name for path in _folders(self.root) if _ENVIRONMENT.fullmatch(path.name))

    def credentials(self, environment: str | None = None) -> Iterator[Credential]:
        """The credentials that have a folder, sorted by environment and name; None means all environments."""
        for folder in self.environments():
            if environment in (None, folder):
                for path in sorted(_folders(self.root / folder)):
                    if is_certificate_name(path.name):
                        yield Credential(path)

    def check(self) -> None:
        """Check, without writing, that the store is writable and closed to others.

        Raises:
            RunbookError: STORE_NOT_WRITABLE or STORE_EXPOSED, naming the first folder or file with a fault.
        """
        existing = self.root
        while not os.path.lexists(existing):
            existing = existing.parent
        if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
            raise RunbookError(Reason.STORE_NOT_WRITABLE, f"{existing} is not a writable folder.")
        if existing == self.root:
            for path in (self.root, *sorted(self.root.rglob("*"))):
                if not path.is_symlink():
                    refuse_exposed(path)


def _folders(folder: Path) -> list[Path]:
    """The folders in a folder, without symlinks; none if it does not exist."""
    try:
        return [path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise oserror(error, folder, reading=True) from None


def _short(name: str) -> str:
    return repr(name) if len(name) <= 140 else f"{name[:40]!r}… ({len(name)} characters)"
