from __future__ import annotations

import contextlib
import os
import re
import signal
import stat
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from runbook_lib.credentials.certificates import facts
from runbook_lib.credentials.generation import Generation, Meta, read_public
from runbook_lib.credentials.keys import KeyKind, seal_key, spki_sha256
from runbook_lib.credentials.pkcs12 import Profile, write_p12
from runbook_lib.credentials.store import SEALED_KEY, Credential, Store
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.identity import Identity
from tests.credentials.pki import NOW, OTHER_PASSWORD, PASSWORD, identity

ONE, OTHER = identity(), identity()
P12 = {one: write_p12(one, PASSWORD, profile=Profile.MODERN, friendly_name="demo") for one in (ONE, OTHER)}


def meta(given: Identity = ONE) -> Meta:
    seen = facts(given.certificate)
    return Meta(
        name="Demo API Service User",
        id="e281fe3b",
        user_id=None,
        environment="sandbox",
        api_url="https://localhost:1",
        clientauth_url="https://localhost:2",
        serial=seen.serial_hex,
        not_before=seen.not_before,
        not_after=seen.not_after,
        spki_sha256=seen.spki_sha256,
        key_kind=KeyKind.P256,
        p12_profile=Profile.MODERN,
        created=NOW,
        tool_version="0.1.0",
    )


def stage(credential: Credential, given: Identity = ONE) -> Path:
    """A whole staging folder for the next generation."""
    staging = credential.staging(credential.next_number())
    credential.write(staging / SEALED_KEY, seal_key(given.key, PASSWORD), mode=0o400)
    credential.write(staging / "identity.p12", P12[given])
    credential.write(staging / "cert.pem", given.certificate.public_bytes(Encoding.PEM))
    credential.write(staging / "chain.pem", b"".join(one.public_bytes(Encoding.PEM) for one in given.chain))
    credential.write(staging / "meta.json", meta(given).to_json())
    return staging


def commit(credential: Credential, given: Identity = ONE) -> Generation:
    stage(credential, given)
    return credential.commit(credential.next_number())


def modes(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): f"{stat.S_IMODE(path.lstat().st_mode):04o}"
        for path in sorted(root.rglob("*"))
        if not path.is_symlink()
    }


def reason(action) -> Reason:
    with pytest.raises(RunbookError) as caught:
        action()
    return caught.value.reason


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "certs")


@pytest.fixture
def credential(store):
    return store.credential("sandbox", "Demo API Service User")


def test_a_credential_lies_where_the_design_says_and_only_its_owner_can_read_it(store, credential):
    old_umask = os.umask(0)
    try:
        credential.make_current(commit(credential))
        with credential.lock():
            pass
    finally:
        os.umask(old_umask)
    assert modes(store.root) == {
        "sandbox": "0700",
        "sandbox/Demo API Service User": "0700",
        "sandbox/Demo API Service User/.lock": "0600",
        "sandbox/Demo API Service User/0001": "0700",
        "sandbox/Demo API Service User/0001/cert.pem": "0400",
        "sandbox/Demo API Service User/0001/chain.pem": "0400",
        "sandbox/Demo API Service User/0001/identity.p12": "0400",
        "sandbox/Demo API Service User/0001/meta.json": "0400",
    }
    assert str((credential.folder / "current").readlink()) == "0001"
    assert stat.S_IMODE(store.root.stat().st_mode) == 0o700
    store.check()


def test_a_generation_gives_back_what_was_put_into_it(credential):
    generation = commit(credential)
    opened = generation.open(PASSWORD)
    assert (opened.certificate, opened.chain) == (ONE.certificate, ONE.chain)
    assert spki_sha256(opened.key.public_key()) == meta().spki_sha256
    assert generation.certificate() == ONE.certificate
    assert generation.chain() == ONE.chain
    assert generation.meta == meta()
    assert read_public(generation) == (facts(ONE.certificate), meta())


def test_going_live_is_one_switch_and_the_old_generation_stays(credential):
    assert credential.current() is None
    assert credential.generations() == []
    first = commit(credential)
    credential.make_current(first)
    second = commit(credential, OTHER)
    assert credential.current() == first
    credential.make_current(second)
    assert credential.current() == second
    assert [one.number for one in credential.generations()] == [1, 2]
    assert first.open(PASSWORD).certificate == ONE.certificate


def test_an_interrupted_generation_is_resumed_under_its_own_number(credential):
    staging = stage(credential)
    assert credential.next_number() == 1
    assert credential.staging(1) == staging
    (staging / ".cert.pem.0123.tmp").write_bytes(b"cut off")
    assert sorted(path.name for path in credential.commit(1).folder.iterdir()) == [
        "cert.pem",
        "chain.pem",
        "identity.p12",
        "meta.json",
    ]
    assert credential.next_number() == 2


def test_a_generation_is_never_overwritten_edited_or_committed_half(credential):
    generation = commit(credential)
    before = (generation.folder / "cert.pem").read_bytes()
    credential.staging(1)
    assert reason(lambda: credential.commit(1)) is Reason.STORE_NOT_WRITABLE
    with pytest.raises(ValueError, match="never edited"):
        credential.write(generation.folder / "cert.pem", b"")
    with pytest.raises(ValueError, match="never edited"):
        credential.write(credential.folder / "current", b"")
    (stage(credential, OTHER) / "chain.pem").unlink()
    with pytest.raises(RunbookError, match=r"is incomplete\. Missing: chain\.pem"):
        credential.commit(2)
    assert [one.number for one in credential.generations()] == [1]
    assert (generation.folder / "cert.pem").read_bytes() == before


def test_another_credential_s_generation_is_not_put_in_use(store, credential):
    stranger = commit(store.credential("demo", "Other"))
    with pytest.raises(ValueError, match="is not a generation of"):
        credential.make_current(stranger)


@pytest.mark.parametrize("target", ["0002", "../Other/0001", "/", ""])
def test_current_pointing_anywhere_else_is_refused(credential, target):
    commit(credential)
    link = credential.folder / "current"
    if target:
        link.symlink_to(target)
    else:
        link.write_bytes(b"no link at all")
    assert reason(credential.current) is Reason.UNREADABLE_FILE


def test_the_store_lists_what_it_holds_in_order_and_nothing_else(store):
    assert list(store.credentials()) == []
    for environment, name in (("sandbox", "b"), ("sandbox", "a"), ("demo", "z 1"), ("localhost_8443", "current")):
        store.credential(environment, name).staging(1)
    (store.root / "client_auth.p12").write_bytes(b"left by the tutorial")
    (store.root / "demo" / ".hidden").mkdir()
    (store.root / "demo" / "link").symlink_to(store.root / "sandbox" / "a")
    assert store.environments() == ["demo", "localhost_8443", "sandbox"]
    found = [(one.environment, one.name) for one in store.credentials()]
    assert found == [("demo", "z 1"), ("localhost_8443", "current"), ("sandbox", "a"), ("sandbox", "b")]
    assert [one.name for one in store.credentials("sandbox")] == ["a", "b"]
    assert list(store.credentials("unknown")) == []


def test_the_store_is_where_the_variable_says_else_where_the_tutorial_does(tmp_path):
    assert Store.default({"DIGICERT_ONE_STORE": str(tmp_path)}).root == tmp_path
    assert Store.default({"HOME": "/home/jane"}).root == Path("/home/jane/.digicert/certs")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc", " a", "a ", "a\n", "a\0", "ä", "-a", "_a", "x" * 129])
def test_a_name_that_is_not_a_safe_file_name_is_refused(store, name):
    with pytest.raises(RunbookError) as caught:
        store.credential("sandbox", name)
    assert caught.value.reason is Reason.BAD_PARAMETER
    assert len(caught.value.what) < 300


@pytest.mark.parametrize("environment", ["", ".", "..", "a/b", "a b", ".hidden", "a\n", "x" * 129])
def test_an_environment_that_is_not_a_safe_file_name_is_refused(store, environment):
    assert reason(lambda: store.credential(environment, "a")) is Reason.BAD_PARAMETER


@given(st.text(max_size=20), st.text(max_size=20))
def test_whatever_the_names_nothing_leaves_the_store(environment, name):
    root = Path("/store")
    try:
        folder = Store(root).credential(environment, name).folder
    except RunbookError:
        return
    assert Path(os.path.normpath(folder)).parent.parent == root


# --- faults ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o701])
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_a_store_open_to_others_is_not_written_into(store, credential, mode, depth):
    credential.staging(1)
    folder = [store.root, store.root / "sandbox", credential.folder][depth]
    folder.chmod(mode)
    assert reason(lambda: credential.staging(1)) is Reason.STORE_EXPOSED
    assert reason(lambda: credential.lock().__enter__()) is Reason.STORE_EXPOSED
    assert reason(store.check) is Reason.STORE_EXPOSED
    folder.chmod(0o700)
    store.check()


def test_a_key_open_to_others_is_not_read(store, credential):
    generation = commit(credential)
    (generation.folder / "identity.p12").chmod(0o440)
    assert reason(lambda: generation.open(PASSWORD)) is Reason.STORE_EXPOSED
    assert reason(store.check) is Reason.STORE_EXPOSED
    (generation.folder / "identity.p12").chmod(0o400)
    assert generation.open(PASSWORD).certificate == ONE.certificate


def test_a_wrong_password_is_reported_with_the_file_it_is_for(credential):
    with pytest.raises(RunbookError, match=r"identity\.p12") as caught:
        commit(credential).open(OTHER_PASSWORD)
    assert caught.value.reason is Reason.WRONG_PASSWORD


@pytest.mark.parametrize("file", ["cert.pem", "meta.json"])
@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", b'{"name": 1}', None])
def test_an_unreadable_public_file_is_named(credential, file, content):
    path = commit(credential).folder / file
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RunbookError) as caught:
        read_public(credential.generations()[0])
    assert caught.value.reason is Reason.UNREADABLE_FILE
    assert str(path) in caught.value.what


def test_files_of_two_certificates_in_one_generation_are_found(credential):
    folder = commit(credential).folder
    (folder / "cert.pem").unlink()
    (folder / "cert.pem").write_bytes(OTHER.certificate.public_bytes(Encoding.PEM))
    generation = credential.generations()[0]
    assert reason(lambda: read_public(generation)) is Reason.KEY_MISMATCH
    assert reason(lambda: generation.open(PASSWORD)) is Reason.KEY_MISMATCH


def test_a_store_below_a_file_cannot_be_written(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    store = Store(tmp_path / "file" / "certs")
    assert reason(lambda: store.credential("sandbox", "a").staging(1)) is Reason.STORE_NOT_WRITABLE
    assert reason(store.check) is Reason.STORE_NOT_WRITABLE


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 64 KiB of its own, where this machine lets us mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting needs root; the limit on file size is tested in its place")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_is_reported_and_what_was_there_is_untouched(small_disk):
    credential = Store(small_disk / "certs").credential("sandbox", "a")
    staging = credential.staging(1)
    credential.write(staging / "meta.json", b"before")
    assert reason(lambda: credential.write(staging / "meta.json", bytes(100_000))) is Reason.DISK_FULL
    assert [path.name for path in staging.iterdir()] == ["meta.json"]
    assert (staging / "meta.json").read_bytes() == b"before"
    credential.write(staging / "meta.json", b"after")
    assert (staging / "meta.json").read_bytes() == b"after"


def test_a_disk_that_was_full_before_is_reported_by_the_lock(small_disk):
    credential = Store(small_disk / "certs").credential("sandbox", "a")
    with contextlib.suppress(OSError), (small_disk / "fill").open("wb") as stream:
        stream.write(bytes(200_000))
    assert reason(lambda: credential.lock().__enter__()) is Reason.DISK_FULL
    (small_disk / "fill").unlink()
    with credential.lock():
        pass


def test_a_store_of_somebody_else_is_reported(store, credential, tmp_path):
    if os.geteuid() == 0 and "WITHOUT_OVERRIDE" not in os.environ:
        again = [
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            f"{__file__}::test_a_store_of_somebody_else_is_reported",
        ]
        done = subprocess.run(
            ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all", sys.executable, *again],
            env={**os.environ, "WITHOUT_OVERRIDE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert "1 passed" in done.stdout, done.stdout + done.stderr
        return

    def close() -> None:
        for path in (*store.root.rglob("*"), store.root):
            if path.is_dir():
                path.chmod(0o500)
        assert not os.access(store.root, os.W_OK)

    everything_refuses_to_write(store, credential, commit(credential), close)


def test_a_read_only_disk_is_reported(small_disk):
    store = Store(small_disk / "certs")
    credential = store.credential("sandbox", "a")
    generation = commit(credential)
    remount = ["mount", "-o", "remount,ro", str(small_disk)]
    everything_refuses_to_write(store, credential, generation, lambda: subprocess.run(remount, check=True))


def everything_refuses_to_write(store, credential, generation, close):
    file = credential.staging(2) / "meta.json"
    credential.write(file, b"before")
    close()
    assert reason(lambda: credential.write(file, b"x")) is Reason.STORE_NOT_WRITABLE
    assert reason(lambda: credential.make_current(generation)) is Reason.STORE_NOT_WRITABLE
    assert reason(lambda: credential.lock().__enter__()) is Reason.STORE_NOT_WRITABLE
    assert reason(lambda: store.credential("sandbox", "new").staging(1)) is Reason.STORE_NOT_WRITABLE
    assert reason(store.check) is Reason.STORE_NOT_WRITABLE
    assert generation.open(PASSWORD).certificate == ONE.certificate
    assert file.read_bytes() == b"before"


def child(code: str, credential: Credential, *, wait: bool = True) -> subprocess.Popen[str]:
    """Another process that has `credential` and says what it finds."""
    prelude = (
        "import sys, time, resource\nfrom pathlib import Path\nfrom runbook_lib.credentials.store import Store\n"
        "from runbook_lib.errors import RunbookError\n"
        "credential = Store(Path(sys.argv[1])).credential('sandbox', sys.argv[2])\n"
    )
    root = str(credential.folder.parent.parent)
    process = subprocess.Popen(
        [sys.executable, "-c", prelude + code, root, credential.name], stdout=subprocess.PIPE, text=True
    )
    if wait:
        process.wait(60)
    return process


def test_a_limit_on_file_size_is_a_full_disk_too(credential):
    staging = credential.staging(1)
    process = child(
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: credential.write(credential.staging(1) / 'meta.json', bytes(5000))\n"
        "except RunbookError as error: print(error.reason)\n",
        credential,
    )
    assert process.stdout
    assert process.communicate()[0] == "disk_full\n"
    assert list(staging.iterdir()) == []


def test_a_second_run_learns_who_works_on_the_credential_and_a_killed_one_lets_go(credential):
    process = child("with credential.lock():\n  print('held', flush=True)\n  time.sleep(60)\n", credential, wait=False)
    assert process.stdout
    try:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(RunbookError) as caught, credential.lock():
            pytest.fail("two runs at once")
        assert caught.value.reason is Reason.BUSY
        assert re.search(rf"by process {process.pid} of .+ since 20", caught.value.what)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    with credential.lock():
        assert reason(lambda: credential.lock().__enter__()) is Reason.BUSY
    with credential.lock():
        pass


def test_a_lock_whose_holder_wrote_nothing_is_still_a_lock(credential):
    with credential.lock():
        (credential.folder / ".lock").write_text("?")
        with pytest.raises(RunbookError, match=rf"by process {os.getpid()}\."), credential.lock():
            pytest.fail("two runs at once")


def test_a_run_killed_while_it_writes_leaves_the_old_file_or_the_new_one(credential):
    staging = credential.staging(1)
    credential.write(staging / "meta.json", b"a" * 200_000)
    process = child(
        "folder = credential.staging(1)\nprint('go', flush=True)\n"
        "while True:\n  for letter in (b'a', b'b'): credential.write(folder / 'meta.json', letter * 200_000)\n",
        credential,
        wait=False,
    )
    assert process.stdout
    process.stdout.readline()
    try:
        process.wait(timedelta(milliseconds=300).total_seconds())
    except subprocess.TimeoutExpired:
        process.kill()
    process.communicate()
    assert (staging / "meta.json").read_bytes() in (b"a" * 200_000, b"b" * 200_000)
