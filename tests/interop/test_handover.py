"""What notebook 01 hands over runs as printed: curl, Python and Java get in, and with a wrong password none does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from runbook_lib.credentials.pkcs12 import Profile
from runbook_lib.procedures.handover import snippets
from runbook_lib.procedures.issue import Issue
from runbook_lib.result import Snippet
from runbook_lib.secrets import SecretRef
from tests.conftest import Sandbox
from tests.procedures.conftest import issue

pytestmark = pytest.mark.interop

PROGRAMS = {
    "sh": ("use.sh", [["sh", "use.sh"]]),
    "python": ("use.py", [[sys.executable, "use.py"]]),
    "java": ("Client.java", [["java", "Client.java"]]),
    "csharp": ("Client.cs", [["mcs", "-r:System.Net.Http.dll", "Client.cs"], ["mono", "Client.exe"]]),
}


@pytest.fixture(scope="module", params=list(Profile))
def issued(request: pytest.FixtureRequest, sandbox: Sandbox) -> Issue:
    return issue(sandbox, f"Handed over {request.param}", p12_profile=request.param)


def of(procedure: Issue, title: str) -> Snippet:
    result = procedure.records[-1].result
    assert result is not None
    return next(one for one in result.snippets if one.title.startswith(title))


def run(snippet: Snippet, folder: Path, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    name, commands = PROGRAMS[snippet.language]
    (folder / name).write_text(snippet.code)
    # what this machine would trust anyway must not help
    clean = {key: value for key, value in os.environ.items() if not key.endswith(("_CA_BUNDLE", "SSL_CERT_FILE"))}
    for command in commands:
        done = subprocess.run(
            command, cwd=folder, env=clean | environ, capture_output=True, text=True, timeout=120, check=False
        )
        if done.returncode:
            break
    return done


@pytest.mark.parametrize("title", ["curl", "Python", "Java"])
def test_each_program_runs_as_printed_and_is_let_in(
    issued: Issue, title: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    snippet = of(issued, title)
    assert sandbox.env["DIGICERT_ONE_P12_PASSWORD"] not in snippet.code
    done = run(snippet, tmp_path, sandbox.env)
    assert done.returncode == 0, done.stderr
    assert "Sandbox ordinary service user" in done.stdout


@pytest.mark.parametrize("title", ["curl", "Python", "Java"])
def test_with_a_wrong_password_no_program_is_let_in(
    issued: Issue, title: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    done = run(of(issued, title), tmp_path, sandbox.env | {"DIGICERT_ONE_P12_PASSWORD": "0" * 64})
    assert done.returncode != 0
    assert "Sandbox ordinary service user" not in done.stdout


def test_the_csharp_program_compiles_trusts_the_host_and_is_answered(
    issued: Issue, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Mono 6.8, the C# that Debian has, never sends HttpClient's client certificate, and reads compat alone: so 403."""
    if issued.parameters.p12_profile is Profile.MODERN:
        assert run(of(issued, "C#"), tmp_path, sandbox.env).returncode != 0
        return
    done = run(of(issued, "C#"), tmp_path, sandbox.env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "403"
    assert "No authentication data provided" in done.stdout
    other = Snippet(title="C#", language="csharp", code=of(issued, "C#").code.replace("localhost:", "127.0.0.2:"))
    assert run(other, tmp_path, sandbox.env).returncode != 0


def test_the_password_is_in_no_argument_while_curl_runs(issued: Issue, sandbox: Sandbox, tmp_path: Path) -> None:
    snippet = of(issued, "curl")
    (tmp_path / "use.sh").write_text(snippet.code)
    trace = tmp_path / "trace"
    subprocess.run(
        ["strace", "-f", "-e", "trace=execve", "-s", "4096", "-o", trace, "sh", "use.sh"],
        cwd=tmp_path,
        env=os.environ | sandbox.env,
        check=True,
        capture_output=True,
    )
    assert "curl" in trace.read_text()
    assert sandbox.env["DIGICERT_ONE_P12_PASSWORD"] not in trace.read_text()


def test_the_variables_of_other_tools_are_what_they_expect(issued: Issue, sandbox: Sandbox, tmp_path: Path) -> None:
    snippet = of(issued, "Other DigiCert tools")
    script = snippet.code + '\nprintf "%s\\n" "$SM_HOST" "$SM_CLIENT_CERT_FILE" "$SM_CLIENT_CERT_FILE_B64"'
    done = subprocess.run(
        ["sh", "-c", script], env=os.environ | sandbox.env, capture_output=True, text=True, check=True
    )
    host, path, encoded = done.stdout.splitlines()
    assert host == sandbox.clientauth_url
    decoded = subprocess.run(["base64", "-d"], input=encoded.encode(), capture_output=True, check=True).stdout
    assert decoded == Path(path).read_bytes()


@pytest.mark.parametrize("reference", ["file:/run/secrets/p12 password", "keyring:digicert one/p12", "prompt:"])
def test_a_password_kept_elsewhere_is_loaded_first(issued: Issue, reference: str, tmp_path: Path) -> None:
    made = snippets(issued.session.environment, Path("/store/it's here/identity.p12"), SecretRef.parse(reference))
    shell = [one for one in made if one.language == "sh"]
    assert all("DIGICERT_ONE_P12_PASSWORD" in one.code for one in made)
    for one in shell:
        assert subprocess.run(["bash", "-n"], input=one.code, text=True, check=False).returncode == 0


ODD = [
    "it's",
    'a "quoted" one',
    "C:x",
    "back\\slash: \\n \\users",
    "$HOME `id` $(id)",
    "50% %s",
    "Müller ﬀ 😀",
    "a;b #&|",
    "tab\there",
]


def at(folder: Path, issued: Issue, title: str, password: str) -> Snippet:
    """The snippet for a P12 in that folder."""
    folder.mkdir(parents=True)
    current = issued.credential.current()
    assert current is not None
    shutil.copy(current.folder / "identity.p12", folder / "identity.p12")
    made = snippets(issued.session.environment, folder / "identity.p12", SecretRef.parse(password))
    return next(one for one in made if one.title.startswith(title))


@pytest.mark.parametrize("name", ODD)
def test_curl_runs_as_printed_wherever_the_store_is(issued: Issue, name: str, sandbox: Sandbox, tmp_path: Path) -> None:
    snippet = at(tmp_path / name, issued, "curl", "env:DIGICERT_ONE_P12_PASSWORD")
    done = run(snippet, tmp_path, sandbox.env)
    assert done.returncode == 0, done.stderr
    assert "Sandbox ordinary service user" in done.stdout
    (tmp_path / name / "identity.p12").unlink()
    assert run(snippet, tmp_path, sandbox.env).returncode != 0


def test_so_do_the_programs_and_a_password_in_a_file_of_an_odd_name(
    issued: Issue, sandbox: Sandbox, tmp_path: Path
) -> None:
    folder = tmp_path / " ".join(ODD[:-1])
    secret = tmp_path / "it's \\users $(id).txt"
    secret.write_text(sandbox.env["DIGICERT_ONE_P12_PASSWORD"])
    secret.chmod(0o600)
    for title, where in (("Java", "first"), ("Python", "second"), ("curl", "third")):
        snippet = at(folder / where, issued, title, f"file:{secret}")
        environ = sandbox.env if title != "curl" else {k: v for k, v in sandbox.env.items() if "PASSWORD" not in k}
        done = run(snippet, tmp_path, environ | {"LC_ALL": "C.UTF-8"})
        assert done.returncode == 0, done.stderr
        assert "Sandbox ordinary service user" in done.stdout


@pytest.mark.parametrize("reference", ["keyring:a/CORP\\user", "file:/a\nb", "env:MY-VARIABLE"])
def test_what_a_shell_reads_is_no_part_of_the_programs(issued: Issue, reference: str) -> None:
    for one in snippets(issued.session.environment, Path("relative.p12"), SecretRef.parse(reference)):
        assert str(Path("relative.p12").absolute()) in one.code
        assert "$MY-VARIABLE" not in one.code
        if one.language != "sh":
            assert not any("\\" in line for line in one.code.splitlines() if line.startswith(("//", "#")))
            if one.language == "python":
                compile(one.code, "use.py", "exec")
