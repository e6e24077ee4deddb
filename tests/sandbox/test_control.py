"""Starting, stopping, starting again: what a person and a script can rely on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography import x509

from runbook_lib.errors import Reason, RunbookError
from runbook_lib.sandbox import is_running, start, stop
from tests.conftest import Sandbox, read_env
from tests.sandbox.conftest import CERTIFICATES, USER_ME, caller_of


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    state = tmp_path / "a state with 'quotes' and spaces"
    yield state
    stop(state)


def status_of(sandbox: Sandbox) -> int:
    headers = {"x-api-key": sandbox.api_key}
    return requests.get(sandbox.url + USER_ME, headers=headers, verify=str(sandbox.ca_file), timeout=5).status_code


def pid_of(state: Path) -> int:
    return int(json.loads((state / "sandbox.lock").read_text())["pid"])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_shell_sources_sandbox_env_and_curl_gets_an_answer_right_away(state: Path) -> None:
    env = start(state)
    assert env == state / "sandbox.env"
    script = """
        set -eu; set -a; . "$1"; set +a
        for url in "$DIGICERT_ONE_URL" "$DIGICERT_ONE_CLIENTAUTH_URL"; do
            curl -s -o /dev/null -w '%{http_code}\\n' --cacert "$DIGICERT_ONE_CA_FILE" \
                -H "x-api-key: $DIGICERT_ONE_API_KEY" "$url/account/api/v1/user/me"
        done
        curl -s -o /dev/null -w '%{http_code}\\n' -H "Authorization: Bearer $DIGICERT_ONE_ADMIN_TOKEN" \
            "$DIGICERT_ONE_ADMIN_URL/health"
        echo "$DIGICERT_ONE_STORE"; echo "${#DIGICERT_ONE_P12_PASSWORD}"
    """
    run = subprocess.run(["sh", "-c", script, "sh", str(env)], capture_output=True, text=True, timeout=30, check=True)
    assert run.stdout.splitlines() == ["200", "403", "200", str(state / "store"), "64"]


def test_nothing_in_the_state_is_open_to_others_and_no_private_key_is_in_plaintext(state: Path) -> None:
    start(state)
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    files = [path for path in state.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"sandbox.env", "ca.pem", "sandbox.db", "root.key", "intermediate.key"}
    for path in files:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
        content = path.read_bytes()
        assert b"BEGIN PRIVATE KEY" not in content, path
        assert b"BEGIN EC PRIVATE KEY" not in content, path


def test_no_secret_is_in_the_process_s_arguments(state: Path) -> None:
    env = read_env(start(state))
    arguments = Path(f"/proc/{pid_of(state)}/cmdline").read_text()
    assert str(state) in arguments
    for name in ("DIGICERT_ONE_API_KEY", "DIGICERT_ONE_ADMIN_TOKEN", "DIGICERT_ONE_P12_PASSWORD"):
        assert env[name] not in arguments


def test_everything_survives_a_restart(state: Path, tmp_path: Path) -> None:
    before = Sandbox(state, read_env(start(state)))
    caller = caller_of(before, tmp_path)
    identity, disabled = caller.issue(), caller.issue()
    caller.enable(disabled, False)
    before.admin("PUT", "/clock", {"offset_seconds": 3600})
    requests_before = before.admin("GET", "/requests")
    stop(state)
    assert not is_running(state)
    with pytest.raises(requests.exceptions.ConnectionError):
        status_of(before)

    after = Sandbox(state, read_env(start(state)))
    assert after.env == before.env, "hosts, ports, keys and passwords are the same"
    caller = caller_of(after, tmp_path)
    assert caller.mtls(identity).status_code == 200
    assert caller.mtls(disabled).status_code == 403
    assert {item["id"] for item in caller.api("GET", CERTIFICATES).json()} == {
        identity.answer["id"],
        disabled.answer["id"],
    }
    assert after.admin("GET", "/clock")["offset_seconds"] == 3600
    assert after.admin("GET", "/requests")[: len(requests_before)] == requests_before
    caller.session.close()


def test_starting_a_running_one_changes_nothing_and_gives_its_env(state: Path) -> None:
    first = start(state)
    content, pid = first.read_text(), pid_of(state)
    assert is_running(state)
    assert start(state) == first
    assert (first.read_text(), pid_of(state)) == (content, pid)


def test_a_running_one_is_not_silently_taken_for_another(state: Path) -> None:
    start(state)
    for options in ({"clientauth_trusts": "root"}, {"port": free_port()}, {"populate": 5}):
        with pytest.raises(RunbookError, match="is already running") as caught:
            start(state, **options)
        assert caught.value.reason is Reason.BAD_PARAMETER
        assert "sandbox stop" in caught.value.remedy


def test_ports_can_be_chosen_and_a_taken_one_is_an_error(state: Path) -> None:
    port, clientauth_port = free_port(), free_port()
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        with pytest.raises(RunbookError, match=f"Port {port} cannot be used") as caught:
            start(state, port=port, clientauth_port=clientauth_port)
        assert caught.value.reason is Reason.BAD_PARAMETER
        assert not is_running(state)
    env = read_env(start(state, port=port, clientauth_port=clientauth_port))
    assert env["DIGICERT_ONE_URL"] == f"https://localhost:{port}"
    assert env["DIGICERT_ONE_CLIENTAUTH_URL"] == f"https://localhost:{clientauth_port}"


@pytest.mark.parametrize(
    "options", [{"port": 70_000}, {"port": -1}, {"port": 9, "clientauth_port": 9}, {"populate": -1}]
)
def test_nonsense_options_are_refused_before_anything_is_made(state: Path, options: dict[str, Any]) -> None:
    with pytest.raises(RunbookError) as caught:
        start(state, **options)
    assert caught.value.reason is Reason.BAD_PARAMETER
    assert not state.exists()


def test_a_port_that_was_taken_meanwhile_is_replaced(state: Path) -> None:
    before = read_env(start(state))
    stop(state)
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", int(before["DIGICERT_ONE_URL"].rpartition(":")[2])))
        other.listen()
        after = Sandbox(state, read_env(start(state)))
        assert after.url != before["DIGICERT_ONE_URL"]
        assert after.clientauth_url == before["DIGICERT_ONE_CLIENTAUTH_URL"]
        assert status_of(after) == 200
    assert "is taken" in (state / "sandbox.log").read_text()


def test_a_killed_one_leaves_nothing_that_confuses_the_next_start(state: Path, tmp_path: Path) -> None:
    sandbox = Sandbox(state, read_env(start(state)))
    caller = caller_of(sandbox, tmp_path)
    identity = caller.issue()
    os.kill(pid_of(state), signal.SIGKILL)
    deadline = time.monotonic() + 5
    while is_running(state) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_running(state)
    stop(state)  # must not signal whoever has that number now
    start(state)
    assert caller.mtls(identity).status_code == 200, "what was issued before the kill is known"
    caller.session.close()


def test_stopping_a_stopped_one_or_none_at_all_is_fine(state: Path, tmp_path: Path) -> None:
    start(state)
    pid = pid_of(state)
    stop(state)
    stop(state)
    stop(tmp_path / "never")
    assert not (tmp_path / "never").exists()
    assert not _alive(pid)


def test_many_starts_at_once_give_one_sandbox(state: Path) -> None:
    program = "import sys, pathlib, runbook_lib.sandbox as s; print(s.start(pathlib.Path(sys.argv[1])))"
    starts = [
        subprocess.Popen([sys.executable, "-c", program, str(state)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    for started in starts:
        out, err = started.communicate(timeout=60)
        assert (started.returncode, out.decode().strip()) == (0, str(state / "sandbox.env")), err.decode()
    assert status_of(Sandbox(state, read_env(state / "sandbox.env"))) == 200


def test_in_the_foreground_it_serves_until_it_is_stopped(state: Path) -> None:
    program = "import sys, pathlib, runbook_lib.sandbox as s; s.start(pathlib.Path(sys.argv[1]), foreground=True)"
    process = subprocess.Popen([sys.executable, "-c", program, str(state)], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 20
    while not is_running(state) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert status_of(Sandbox(state, read_env(state / "sandbox.env"))) == 200
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (0, b""), "Ctrl-C is the usual way out, no reason for a traceback"


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunbookError, match="cannot be used") as caught:
        start(tmp_path / "file")
    assert caught.value.reason is Reason.STORE_NOT_WRITABLE


def test_a_damaged_ca_is_named_and_not_replaced(state: Path) -> None:
    start(state)
    stop(state)
    (state / "ca" / "root.key").write_text("damaged")
    with pytest.raises(RunbookError, match="is damaged") as caught:
        start(state)
    assert caught.value.reason is Reason.UNREADABLE_FILE
    assert (state / "ca" / "root.key").read_text() == "damaged"


def test_each_state_has_a_ca_of_its_own(fresh_sandbox: Callable[..., Sandbox], sandbox: Sandbox) -> None:
    other = fresh_sandbox()
    assert other.ca_file.read_bytes() != sandbox.ca_file.read_bytes()
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(other.url + USER_ME, verify=str(sandbox.ca_file), timeout=5)


def test_files_that_were_there_before_stay_as_they_are(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir(mode=0o755)
    (folder / "notes.txt").write_text("mine")
    start(folder)
    stop(folder)
    assert (folder / "notes.txt").read_text() == "mine"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    assert stat.S_IMODE((folder / "sandbox.env").stat().st_mode) == 0o600


def test_five_thousand_users_are_there_in_seconds(fresh_sandbox: Callable[..., Sandbox], tmp_path: Path) -> None:
    begun = time.monotonic()
    sandbox = fresh_sandbox(populate=5000)
    assert time.monotonic() - begun < 30
    populated = [user for user in sandbox.admin("GET", "/users") if user["role"] == "populated"]
    assert len(populated) == 5000
    certificates = sandbox.admin("GET", "/certificates")
    assert len({item["public_key"] for item in certificates}) == 5000
    assert any("<script>" in item["common_name"] for item in certificates)
    assert any("|" in user["friendly_name"] for user in populated)
    assert any("\u202e" in user["friendly_name"] for user in populated)

    caller = caller_of(sandbox, tmp_path)
    seen = caller.api("GET", CERTIFICATES, key=populated[0]["api_key"]).json()
    now = sandbox.admin("GET", "/clock")["now"]
    assert {item["user_id"] for item in seen} <= {user["id"] for user in populated}
    assert len(seen) == 10
    assert sum(item["end_date"] < now for item in seen) == 2
    assert sum(not item["enabled"] for item in seen) == 2
    assert caller.api("GET", CERTIFICATES).json() == [], "the ordinary user's account is not filled"
    caller.session.close()


def test_populating_again_brings_the_number_up_and_keeps_who_is_there(state: Path) -> None:
    def populated() -> set[str]:
        return {user["id"] for user in Sandbox(state, read_env(start(state))).admin("GET", "/users")}

    start(state, populate=3)
    three = populated()
    stop(state)
    start(state, populate=12)
    twelve = populated()
    assert three < twelve
    assert len(twelve) - len(three) == 9
    stop(state)
    assert populated() == twelve


def test_the_log_holds_no_secret(state: Path, tmp_path: Path) -> None:
    sandbox = Sandbox(state, read_env(start(state)))
    caller = caller_of(sandbox, tmp_path)
    caller.mtls(caller.issue())
    caller.session.close()
    stop(state)
    log = (state / "sandbox.log").read_text()
    assert sandbox.api_key not in log
    assert "PRIVATE KEY" not in log


def test_the_ca_file_speaks_for_localhost_only_and_says_it_is_a_sandbox(sandbox: Sandbox) -> None:
    root = x509.load_pem_x509_certificate(sandbox.ca_file.read_bytes())
    assert "SANDBOX" in root.subject.rfc4514_string()
    extension = root.extensions.get_extension_for_class(x509.NameConstraints)
    assert extension.critical
    names = [str(name.value) for name in extension.value.permitted_subtrees or []]
    assert names == ["localhost", "127.0.0.1/32", "::1/128"]


def _alive(pid: int) -> bool:
    """Running, as opposed to gone or only not yet waited for."""
    stat_file = Path(f"/proc/{pid}/stat")
    return stat_file.exists() and stat_file.read_text().rpartition(")")[2].split()[0] != "Z"


def test_removing_the_state_of_a_stopped_one_is_all_it_takes_to_forget_it(state: Path) -> None:
    first = read_env(start(state))
    stop(state)
    shutil.rmtree(state)
    second = read_env(start(state))
    assert second["DIGICERT_ONE_API_KEY"] != first["DIGICERT_ONE_API_KEY"]
