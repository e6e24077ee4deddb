"""Every command that README and the guides show is run: in the order of its page, in one shell, in a fresh copy."""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex

import pytest

from runbook_lib import tables
from runbook_lib.catalogue import Exit
from runbook_lib.sandbox import stop
from tests.archive import bags, tsa
from tests.archive.many import Told, inventory, row
from tests.conftest import Sandbox
from tests.notices.receivers import mail_server

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[1]
NOT_OURS = ("DIGICERT_", "JUPYTER", "RUNBOOK_", "MAKE", "MFLAGS", "XDG_", "PYTHONDONTWRITEBYTECODE")

BROWSER = """#!/bin/sh
sed 's/token=[^"&]*//' "${1#file://}" >"$HOME/seen" && mv "$HOME/seen" "$HOME/opened"
"""
LAB = """make lab >lab.log 2>&1 & lab=$!
for _ in $(seq 300); do [ -e ~/opened ] && break; sleep 0.2; done
grep -q "lab/tree/00_start_here.ipynb" ~/opened; opened=$?; cat lab.log
kill -TERM $lab; wait $lab; (exit $opened)"""
"""`make lab` without its end: until it has opened a page in the browser."""


def commands_of(page: str) -> list[str]:
    """The commands of a page's blocks: `sh` a line each (here documents and continued lines are one), `cron`, `ini`."""
    found: list[str] = []
    for language, block in re.findall(r"^```(sh|cron|ini)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE):
        if language == "ini":
            unit = configparser.ConfigParser(interpolation=None)
            unit.read_string(block)
            found.append(unit["Service"]["ExecStart"])
        elif language == "cron":
            found += [line.split(None, 5)[5] for line in block.splitlines()]
        else:
            found += _shell_commands(block)
    return found


def _shell_commands(block: str) -> list[str]:
    found, lines = [], iter(block.splitlines())
    for line in lines:
        command, ends = [line], ""
        while True:
            if here := re.search(r"<<'?(\w+)", command[-1]):
                ends = here[1]
            elif command[-1] == ends or not (ends or command[-1].endswith("\\")):
                break
            command.append(next(lines))
        if line.strip():
            found.append("\n".join(command))
    return found


@dataclass
class Reader:
    """Somebody who follows a page: in a copy of the repository, with a home of their own."""

    folder: Path
    environ: dict[str, str] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    typed: dict[str, str] = field(default_factory=dict)
    codes: dict[str, int] = field(default_factory=dict)
    """What stands for a text of the page; what is typed into a command that holds a text; its exit code if not 0."""

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def copy(self) -> Path:
        return self.folder / "copy"

    def here(self, text: str) -> str:
        """A text of the page, with this test's places in it."""
        for shown, place in self.places.items():
            text = text.replace(shown, place)
        return text

    def follow(self, page: str, *, at: str = ".") -> None:
        """Run the page's commands in one shell. Fails with the first that ends otherwise than the page says."""
        commands = commands_of((ROOT / page).read_text(encoding="utf-8"))
        assert len(commands) > 3
        done = self.folder / "done"
        done.mkdir()
        script = [f"cd {at}"]
        for number, command in enumerate(commands):
            (done / f"{number}.sh").write_text(LAB if command.startswith("make lab") else self.here(command) + "\n")
            typed = next((text for holds, text in self.typed.items() if holds in command), "")
            (done / f"{number}.in").write_text(typed)
            expected = next((int(code) for holds, code in self.codes.items() if holds in command), 0)
            files = {what: f"'{done}/{number}.{what}'" for what in ("sh", "in", "out", "code")}
            script.append(f". {files['sh']} <{files['in']} >{files['out']} 2>&1; echo $? >{files['code']}")
            script.append(f"[ $(cat {files['code']}) = {expected} ] || exit")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(NOT_OURS)}
        ours = {"HOME": str(self.home), "BROWSER": str(self.home / "browser"), "PYTHONPATH": str(self.copy)}
        environ = kept | ours | self.environ
        bash = ["bash", "--noprofile", "--norc", "-c", "\n".join(script)]
        ended = subprocess.run(bash, cwd=self.copy, env=environ, capture_output=True, text=True, timeout=560)
        ran = len(list(done.glob("*.code")))
        last = f"{commands[ran - 1]}\n{(done / f'{ran - 1}.out').read_text()}{ended.stderr}"
        assert (ran, ended.returncode) == (len(commands), 0), last

    def ran(self, command: str, page: str) -> str:
        """What a command of the page printed."""
        number = next(n for n, one in enumerate(commands_of((ROOT / page).read_text())) if command in one)
        return (self.folder / "done" / f"{number}.out").read_text(encoding="utf-8")


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """With a copy of all that git keeps, as it is now, and an environment that `make env` finds made."""
    found = Reader(tmp_path)
    found.home.mkdir()
    (found.home / "browser").write_text(BROWSER)
    (found.home / "browser").chmod(0o755)
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (found.copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, found.copy / name)
    venv = found.copy / ".venv"
    venv.mkdir()
    for path in Path(sys.prefix).iterdir():
        (venv / path.name).symlink_to(path)
    (venv / ".ready").unlink(missing_ok=True)
    (venv / ".ready").touch()
    yield found
    stop(found.copy / "build" / "sandbox")


def real_account(reader: Reader, sandbox: Sandbox) -> None:
    """Let the sandbox stand for the DigiCert ONE that pages and samples name, and our folders for a machine's."""
    names = ("DIGICERT_ONE_URL", "DIGICERT_ONE_CLIENTAUTH_URL", "DIGICERT_ONE_CA_FILE")
    reader.environ |= {name: sandbox.env[name] for name in names}
    reader.places |= {
        "/opt/digicert-one-runbooks": str(reader.copy),
        "/etc/digicert-one": str(reader.folder / "etc"),
        "/var/lib/digicert-one/archive": str(reader.folder / "archive"),
        "environment: demo": "environment: configured",
        "environment: production": "environment: configured",
    }
    for path in (reader.copy / "parameters").glob("production-*.yaml"):
        path.write_text(reader.here(path.read_text(encoding="utf-8")), encoding="utf-8")


def test_the_readme_leads_from_a_clone_to_a_proven_certificate(
    reader: Reader, fresh_sandbox: Callable[..., Sandbox]
) -> None:
    sandbox = fresh_sandbox()
    real_account(reader, sandbox)
    reader.typed["cat > ~/.config"] = f"{sandbox.api_key}\n"
    reader.follow("README.md")
    assert "build/demo/archive/index.html" in reader.ran("make demo", "README.md").splitlines()[-1]
    (current,) = reader.home.glob(".digicert/certs/*/CI Signing Service/current/identity.p12")
    assert current.stat().st_mode & 0o077 == 0


def test_the_analysts_guide_can_be_followed(reader: Reader) -> None:
    page = "docs/analyst.md"
    reader.follow(page)
    assert json.loads(reader.ran("curl", page))["id"]


def test_the_schedulers_guide_can_be_followed(reader: Reader, fresh_sandbox: Callable[..., Sandbox]) -> None:
    sandbox = fresh_sandbox()
    real_account(reader, sandbox)
    etc = reader.folder / "etc"
    (etc / "accounts").mkdir(parents=True)
    users = sandbox.users()
    files = {"api-key": sandbox.api_key, "p12-password": token_hex(32), "accounts/signing-emea": sandbox.api_key}
    for name, text in (files | {"accounts/signing-us": users["second"]["api_key"]}).items():
        (etc / name).touch(0o600)
        (etc / name).write_text(text)
    runbook = Path(sys.executable).with_name("runbook")
    issue = [str(runbook), "run", "issue", "-f", "parameters/production-rotate.yaml", "--archive", "archive"]
    environ = {**os.environ, **reader.environ, "HOME": str(reader.home)}
    issued = subprocess.run(issue, cwd=reader.copy, env=environ, capture_output=True, text=True)
    assert issued.returncode == Exit.DONE, issued.stderr
    reader.codes = {"--exit-detail": Exit.NOTHING_DUE, "archive gaps": Exit.CHECK_FAILED}
    with mail_server("USER", "PASSWORD") as box:
        there = f"mailto://USER:PASSWORD@127.0.0.1:{box.port}/?mode=insecure&"
        reader.places["mailtos://USER:PASSWORD@smtp.example.com?"] = there
        reader.follow("docs/scheduler.md")
        assert box.subjects == ["Test message for pki"]
        # from now on each run into the archive mails what changed
        fails = [str(runbook), "run", "inventory", "-f", "parameters/production-inventory.yaml", "-p", "due_days", "0"]
        place = ["--archive", str(reader.folder / "archive")]
        done = subprocess.run([*fails, *place], cwd=reader.copy, env=environ, capture_output=True, text=True)
        assert done.returncode == Exit.USAGE, done.stderr
        assert box.subjects[1:] == ["Failed: inventory failed"]


def test_the_guide_for_compliance_can_be_followed(reader: Reader) -> None:
    folder = reader.copy / "build"
    archive = folder / "archive"
    folder.mkdir()
    for day, hour, left in ((1, 6, 91), (15, 6, 77), (23, 6, 69)):
        run = Told("inventory", datetime(2026, 11, day, hour, 17, tzinfo=UTC), tables=(inventory(row("A", days=left)),))
        (table,) = run.tables
        files = {"run.json": json.dumps(run.record()).encode(), "tables/inventory.csv": tables.csv_of(table)}
        bags.put(archive, files, job="inventory", at=run.at)
    shutil.copy(ROOT / "parameters/expected/nightly.yaml", folder / "my-expected.yaml")
    reader.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    reader.codes = {"archive gaps": Exit.CHECK_FAILED}
    with tsa.authority(reader.folder / "tsa") as authority:
        reader.places |= {"http://timestamp.example.com": authority.url, "tsa-root.pem": str(authority.roots)}
        reader.follow("docs/compliance.md", at="build")
    assert (folder / "november.zip").is_file()


def test_what_a_page_shows_becomes_its_commands() -> None:
    commands = ["make env  # why", "cat > a <<'END'\nx: 1\nEND", "curl \\\n  -s <<END\nb\nEND"]
    assert commands_of("```sh\n" + "\n\n".join(commands) + "\n```\n") == commands
    assert commands_of("```cron\n1 2 * * * a b\n```\n") == ["a b"]
    assert commands_of("```ini\n[Service]\nExecStart=/bin/x y\n```\n```yaml\na: 1\n```\n") == ["/bin/x y"]


def test_a_command_that_fails_is_named(reader: Reader) -> None:
    page = '```sh\ncd build 2>/dev/null || true\nexport A=1\necho "$A"\ntest "$A" = 2\necho never\n```\n'
    file = reader.folder / "page.md"
    file.write_text(page)
    with pytest.raises(AssertionError, match='test "\\$A" = 2'):
        reader.follow(str(file))
