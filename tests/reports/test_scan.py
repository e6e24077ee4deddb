"""No secret reaches the archive, in plain text or in an encoding."""

from __future__ import annotations

import base64
import html
import json
import secrets
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runbook_lib.catalogue import Exit, Reason
from runbook_lib.clock import SystemClock
from runbook_lib.reports.scan import Scanner, default_parameters, plain_secrets, references_in
from runbook_lib.runner import RunOutcome, Status, run_notebook
from tests.reports import reading

Run = Callable[..., RunOutcome]

HARD = "sécret&\"<'>/\\+ %|1"

ENCODINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "JSON": json.dumps,
    "JSON, not ASCII": lambda s: json.dumps(s, ensure_ascii=False),
    "JSON in JSON": lambda s: json.dumps(json.dumps(s)),
    "HTML": html.escape,
    "HTML, quotes kept": lambda s: html.escape(s, quote=False),
    "JSON in HTML": lambda s: html.escape(json.dumps(s)),
    "URL": lambda s: quote(s, safe=""),
    "URL form": quote_plus,
    "Python": repr,
    "base64": lambda s: base64.b64encode(s.encode()).decode(),
    "base64 after one byte": lambda s: base64.b64encode(b"x" + s.encode() + b"y").decode(),
    "base64 after two bytes": lambda s: base64.b64encode(b"xx" + s.encode()).decode(),
    "base64 for URLs": lambda s: base64.urlsafe_b64encode(s.encode()).decode(),
    "base64 wrapped": lambda s: base64.encodebytes(b"x" * 50 + s.encode() + b"x" * 9).decode(),
    "base64 wrapped in JSON": lambda s: json.dumps(base64.encodebytes(b"x" * 50 + s.encode()).decode()),
    "basic authentication": lambda s: base64.b64encode(f"user:{s}".encode()).decode(),
    "hex": lambda s: s.encode().hex(),
    "HEX": lambda s: s.encode().hex().upper(),
    "hex dump": lambda s: s.encode().hex(" "),
}


def _scanner(**values: str) -> Scanner:
    return Scanner(tuple(f"env:{name}" for name in values), values)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("secret", [HARD, "abcdefgh", "plain-Secret_0123456789"])
def test_a_secret_is_found_however_it_is_written(encoding: str, secret: str) -> None:
    scanner = _scanner(S=secret)
    text = f"before {ENCODINGS[encoding](secret)} after"
    assert scanner.labels_in(text) == {"env:S"}
    assert _scanner(S=secret[::-1] + "~").labels_in(text) == set()


@settings(deadline=None, max_examples=60)
@given(st.text(st.characters(codec="utf-8"), min_size=8, max_size=40), st.sampled_from(sorted(ENCODINGS)))
def test_any_secret_is_found_however_it_is_written(secret: str, encoding: str) -> None:
    assert "env:S" in _scanner(S=secret).labels_in(ENCODINGS[encoding](secret))


def test_what_is_no_secret_is_left_alone() -> None:
    scanner = _scanner(S=HARD)
    for text in (
        'curl -H "x-api-key: $DIGICERT_ONE_API_KEY"',
        'headers={"x-api-key": os.environ["DIGICERT_ONE_API_KEY"]}',
        "x-api-key: SERVICE_USER_TOKEN",
        "-----BEGIN CERTIFICATE-----",
        "-----BEGIN PUBLIC KEY-----",
        "serial 6403F2A8B1234567890ABCDEF",
        "783a6a45-b74b-4635-bb4b-69855910ccd3",
        base64.b64encode(bytes(range(256)) * 20).decode(),
    ):
        assert scanner.labels_in(text) == set(), text


def _header(kind: str = "") -> str:
    return "-----" + f"BEGIN {kind}PRIVATE KEY" + "-----"


@pytest.mark.parametrize(
    "text",
    [
        *(_header(kind) for kind in ("", "RSA ", "EC ", "ENCRYPTED ", "OPENSSH ")),
        json.dumps(_header() + "\nMIIE"),
        quote(_header("EC ")),
        quote_plus(_header()),
        base64.b64encode((_header() + "\nMIIE").encode()).decode(),
        base64.b64encode(("x" + _header("RSA ") + "\nMIIE").encode()).decode(),
    ],
)
def test_a_private_key_is_found_by_its_look(text: str) -> None:
    assert _scanner().labels_in(f"a {text} b") == {"private key"}


@pytest.mark.parametrize("kind", ["rsa", "p256", "p384"])
def test_a_private_key_is_found_without_its_header(kind: str) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    keys: dict[str, Callable[[], Any]] = {
        "rsa": lambda: rsa.generate_private_key(65537, 2048),
        "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    }
    key = keys[kind]()
    forms = [PrivateFormat.PKCS8, *([PrivateFormat.TraditionalOpenSSL] if kind == "rsa" else [])]
    for form in forms:
        der = key.private_bytes(Encoding.DER, form, NoEncryption())
        assert _scanner().labels_in(base64.encodebytes(der).decode()) == {"private key"}
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert _scanner().labels_in(base64.b64encode(public).decode()) == set()


def test_tokens_and_headers_are_found_by_their_look() -> None:
    token = secrets.token_hex(13) + "_" + secrets.token_hex(30)
    assert "DigiCert API token" in _scanner().labels_in(f'{{"key": "{token}"}}')
    for text in (
        "x-api-key: abcdef0123456789",
        '{"X-Api-Key": "abcdef0123456789"}',
        "x-api-key&quot;: &quot;a0b1c2d3e4f5g6h7",
    ):
        assert _scanner().labels_in(text) == {"x-api-key header"}
    redacted = _scanner().redact({"what": f"key {token} refused"})
    assert redacted == {"what": "key [withheld: DigiCert API token] refused"}


def test_what_cannot_be_searched_for_is_said(tmp_path: Path) -> None:
    scanner = Scanner(("env:SHORT", "env:NONE", f"file:{tmp_path}/later", "prompt:"), {"SHORT": "1234567"})
    assert not scanner.searched
    assert scanner.unsearched["env:SHORT"] == "shorter than 8 characters"
    assert set(scanner.unsearched) == {"env:SHORT", "env:NONE", f"file:{tmp_path}/later", "prompt:"}
    (tmp_path / "later").touch(mode=0o600)
    (tmp_path / "later").write_text("written-by-the-run\n")
    scanner.look_up()
    assert scanner.searched == (f"file:{tmp_path}/later",)
    assert scanner.labels_in("written-by-the-run") == {f"file:{tmp_path}/later"}
    assert "written" not in repr(scanner)


def test_references_and_plain_secrets_are_told_apart() -> None:
    parameters = {"api_key": "env:KEY", "nested": [{"p12_password": "hunter2"}], "token": 12345678, "show_token": True}
    assert references_in(parameters) == ("env:KEY",)
    assert dict(plain_secrets(parameters)) == {"p12_password": "hunter2", "token": "12345678"}
    assert dict(plain_secrets({"note": _header(), "password": "", "secret": None})) == {"note": _header()}
    assert list(plain_secrets({"api_keys": ["env:A", "hunter22", {"token": "t"}]})) == [
        ("api_keys", "hunter22"),
        ("token", "t"),
    ]


def test_defaults_are_read_from_the_tagged_cell() -> None:
    from nbformat.v4 import new_code_cell, new_notebook

    cell = new_code_cell(
        'import os\na: str = "env:A"\nb = os.sep\nc = [1]  # a comment', metadata={"tags": ["parameters"]}
    )
    assert default_parameters(new_notebook(cells=[new_code_cell("z = 1"), cell])) == {"a": "env:A", "b": None, "c": [1]}
    assert default_parameters(new_notebook(cells=[new_code_cell("z = 1")])) is None


@pytest.fixture
def canary() -> str:
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(24)) + "&<é"


DOORS = {
    "injected cell and parameters": ("print('nothing shown')", {"note": "CANARY"}),
    "an output": ("import os; print(repr(os.environ['CANARY'].encode().hex()))", {}),
    "HTML": (
        "import html, os; from IPython.display import HTML; HTML('<b>' + html.escape(os.environ['CANARY']) + '</b>')",
        {},
    ),
    "widget state": (
        "import os, ipywidgets; ipywidgets.Password(value=os.environ['CANARY'])",
        {},
    ),
}


@pytest.mark.parametrize("door", DOORS)
def test_a_canary_fails_the_run_and_is_in_no_archived_byte(run: Run, archive: Path, canary: str, door: str) -> None:
    source, extra = DOORS[door]
    given = {"api_key": "env:CANARY", **dict.fromkeys(extra, canary)}
    outcome = run(
        source, given=given, parameters='api_key = "env:OTHER"\nnote = ""', env={"CANARY": canary, "OTHER": "x" * 9}
    )
    assert (outcome.status, outcome.exit) == (Status.WITHHELD, Exit.UNEXPECTED)
    assert outcome.error is not None
    assert outcome.error["reason"] == Reason.SECRET_IN_ARTEFACT
    assert "env:CANARY in run.ipynb" in outcome.error["what"]
    record = reading.record(outcome.bag)
    assert record["scan"]["withheld"] == ["run.ipynb"]
    assert {found["what"] for found in record["scan"]["found"]} == {"env:CANARY"}
    assert record["scan"]["searched"] == ["env:CANARY", "env:OTHER"]
    assert not (outcome.bag / "data/run.ipynb").exists()
    assert "A secret was found" in reading.page(outcome.bag)
    assert reading.holds(archive, canary) == []


def test_the_same_run_without_the_leak_is_archived_whole(run: Run, archive: Path, canary: str) -> None:
    given = {"api_key": "env:CANARY"}
    outcome = run(
        "import os; len(os.environ['CANARY'])", given=given, parameters='api_key = ""', env={"CANARY": canary}
    )
    assert outcome.status is Status.DONE
    assert reading.record(outcome.bag)["scan"]["searched"] == ["env:CANARY"]
    (archive / "planted").write_text(json.dumps({"x": canary}))
    assert reading.holds(archive, canary) == [archive / "planted"]  # the search works


def test_a_secret_in_an_error_and_in_a_table_is_withheld_everywhere(run: Run, archive: Path, canary: str) -> None:
    from tests.notebook_runs import RECORDS

    outcome = run(
        RECORDS,
        "import os\nstep('look', Result(verdict=Verdict.OK, headline=os.environ['CANARY'], reason=os.environ['CANARY'],"
        "tables=("
        "Table(name='leak', title='t', columns=('a',), rows=((os.environ['CANARY'],),)),"
        "Table(name='fine', title='t', columns=('a',), rows=(('b',),)))))",
        "raise ValueError(os.environ['CANARY'])",
        given={"api_key": "env:CANARY"},
        parameters='api_key = ""',
        env={"CANARY": canary},
    )
    assert outcome.status is Status.WITHHELD
    record = reading.record(outcome.bag)
    assert record["scan"]["withheld"] == ["run.ipynb", "tables/leak.csv"]
    assert [table["file"] for table in record["tables"]] == ["tables/fine.csv"]
    assert record["steps"][0]["headline"] == record["steps"][0]["reason"] == "[withheld: env:CANARY]"
    assert "The run's own status was “failed”" in record["error"]["what"]
    assert reading.holds(archive, canary) == []


@pytest.mark.parametrize("given_or_default", ["given", "default"])
def test_a_secret_as_a_plain_value_is_refused_before_anything_runs(
    write_notebook: Callable[..., Path], archive: Path, tmp_path: Path, given_or_default: str
) -> None:
    plain = secrets.token_urlsafe(24)
    default = plain if given_or_default == "default" else "env:KEY"
    notebook = write_notebook(f"open({str(tmp_path / 'ran')!r}, 'w')", parameters=f'api_key = "{default}"')
    given = {"api_key": plain} if given_or_default == "given" else {}
    outcome = run_notebook(notebook, given, job="demo", archive=archive, clock=SystemClock())
    assert (outcome.status, outcome.exit) == (Status.REFUSED, Exit.USAGE)
    assert outcome.error is not None
    assert outcome.error["reason"] == Reason.SECRET_AS_VALUE
    assert "`api_key`" in outcome.error["what"]
    assert not (tmp_path / "ran").exists()
    assert (outcome.bag / "data/run.ipynb").exists() == (given_or_default == "given")
    assert reading.holds(archive, plain) == []


SWAPPED = {
    "a password": ("hunter2-hunter2-hunter2", "api_key"),
    "a short password": ("hunter2", "api_key"),
    "a token, whatever it is called": (secrets.token_hex(13) + "_" + secrets.token_hex(30), "note"),
}


@pytest.mark.parametrize("which", SWAPPED)
def test_name_and_value_swapped_are_refused_and_not_repeated(run: Run, archive: Path, which: str) -> None:
    secret, value = SWAPPED[which]
    outcome = run("1", given={secret: value}, parameters='api_key = "env:OTHER"')
    assert (outcome.status, outcome.exit) == (Status.REFUSED, Exit.USAGE)
    assert outcome.error is not None
    assert outcome.error["reason"] == Reason.SECRET_AS_VALUE
    assert secret not in str(outcome.error)
    assert reading.holds(archive, secret) == []


@pytest.mark.parametrize("scheme", ["env:", "file:", "keyring:service/", "env: "])
@pytest.mark.parametrize("name", ["api_key", "note"])
def test_a_secret_behind_a_reference_s_scheme_is_refused(run: Run, archive: Path, scheme: str, name: str) -> None:
    token = secrets.token_hex(13) + "_" + secrets.token_hex(30)
    outcome = run("1", given={name: scheme + token}, parameters='api_key = "env:OTHER"\nnote = ""')
    assert outcome.status is Status.REFUSED
    assert token not in str(outcome.error)
    assert reading.holds(archive, token) == []


def test_a_known_secret_in_a_reference_s_name_is_not_sealed(run: Run, archive: Path, canary: str) -> None:
    plain = canary[:24]
    given = {"api_key": "env:CANARY", "p12_password": f"file:/nowhere/{plain}"}
    outcome = run("1", given=given, parameters='api_key = ""\np12_password = ""', env={"CANARY": plain})
    assert outcome.status is Status.WITHHELD
    assert reading.holds(archive, plain) == []


def test_a_secret_in_a_table_s_title_is_sealed_nowhere(run: Run, archive: Path, canary: str) -> None:
    from tests.notebook_runs import RECORDS

    outcome = run(
        RECORDS,
        "import os\nstep('look', Result(verdict=Verdict.OK, headline='h', tables=("
        "Table(name='t', title='of ' + os.environ['CANARY'], columns=('a',), rows=(('b',),)),)))",
        given={"api_key": "env:CANARY"},
        parameters='api_key = ""',
        env={"CANARY": canary},
    )
    assert outcome.status is Status.WITHHELD
    assert reading.holds(archive, canary) == []
    assert reading.record(outcome.bag)["tables"][0]["title"] == "of [withheld: env:CANARY]"


def test_if_even_the_record_would_hold_it_only_the_least_is_told(run: Run, archive: Path) -> None:
    """The secret is spread over several items of a list: no single text can be redacted."""
    secret = "Qx7rT2mN9pLw4sVb"
    outcome = run(
        "1", given={"api_key": "env:S", "notes": [secret[:8], secret[8:]]}, parameters='api_key = ""', env={"S": secret}
    )
    assert outcome.status is Status.WITHHELD
    record = reading.record(outcome.bag)
    assert (record["parameters"], record["job"]) == ({}, "withheld")
    assert "".join(path.read_text() for path in (outcome.bag / "data").iterdir()).count(secret[8:]) == 0


def test_a_notebook_s_name_that_holds_a_secret_is_refused_before_anything_is_written(
    write_notebook: Callable[..., Path], archive: Path
) -> None:
    from runbook_lib.errors import RunbookError

    secret = "Qx7rT2mN9pLw4sVb"
    notebook = write_notebook("1", name=f"{secret}.ipynb")
    with pytest.raises(RunbookError) as error:
        run_notebook(
            notebook,
            {"api_key": "env:S"},
            job="demo",
            archive=archive,
            clock=SystemClock(),
            environ={"S": secret},
        )
    assert secret not in str(error.value)
    assert not archive.exists()


def test_numbers_and_innocent_names_are_no_secrets() -> None:
    innocent: dict[str, Any] = {
        "max_tokens": 512,
        "max_new_tokens": "4096",
        "n_tokens": 100_000,
        "token_count": 12,
        "tokenizer": "bert-base",
        "api_key_rotation_days": 90,
        "password_min_length": 16,
        "secret_santa_day": "2026-12-06",
        "token_url": "https://one.example/token",
        "show_token": True,
        "token": 0.5,
        "password": "none",
        "secret": None,
        "keyboard": "us",
        "maxTokensPerRequestV2": 5,
        "sha256": "0" * 64,
    }
    assert list(plain_secrets(innocent)) == []
    guilty = {
        "clientSecret": "abc",
        "apiKey": "abc",
        "API_KEY": "abc",
        "accessToken": "abc",
        "db_pwd": "abc",
        "passwords": ["abc"],
        "api_key_2": "abc",
        "secret_key": "abc",
        "new_password": "abc",
        "p12_password": 12345678,
    }
    assert {name for name, _ in plain_secrets(guilty)} == set(guilty)
    token = secrets.token_hex(13) + "_" + secrets.token_hex(30)
    assert list(plain_secrets({"max_tokens": token})) == [("max_tokens", token)]
