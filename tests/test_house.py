"""The house rules that no linter knows, held over every file that git keeps."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "runbook_lib"
MODULES = sorted(PACKAGE.rglob("*.py"))
TOP = "runbook_lib"

LINES = 400
DATA = {"catalogue.py"}
"""Modules that are a table and no program."""

# put together here, so that this file is not a find itself
_REGISTRIES = (
    *(
        f"{name}.org"
        for name in ("pypi", "test.pypi", "files.python" + "hosted", "registry.npm" + "js", "conda.anaconda")
    ),
    *(f"{name}.com" for name in ("registry.yarn" + "pkg", "repo.ana" + "conda")),
    *("python" + "hosted", "npm" + "js.", "crates" + ".io", "proxy.go" + "lang", "maven" + ".org", "rubygems" + ".org"),
)
_PATHS = ("/" + "root/", "/" + "work/", "/" + r"home/(?!jane\b)", "/" + "Users/", r"C:\\" + "Users")
REGISTRY = re.compile("|".join(re.escape(host) for host in _REGISTRIES), re.IGNORECASE)
MACHINE = re.compile(r"(?<![\w.])(?:" + "|".join(_PATHS) + ")")
PRIVATE_KEY = re.compile("-----" + r"BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----\s*(?:\\n)?\s*[A-Za-z0-9+/=]{16}")

each_module = pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))


def tracked() -> dict[str, str]:
    """Every text file that git keeps, and its content."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found = {}
    for name in filter(None, names.split("\0")):
        path = ROOT / name
        if path.is_file() and b"\0" not in (content := path.read_bytes()):
            found[name] = content.decode("utf-8")
    return found


def imports(path: Path) -> set[str]:
    """The modules that a file names in its imports, wherever they stand in it; `a.b` and its attributes alike."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {one.name for one in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: a relative import"
            found |= {node.module, *(f"{node.module}.{one.name}" for one in node.names)}
    return found


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def names(found: set[str], module: str) -> bool:
    return any(one == module or one.startswith(f"{module}.") for one in found)


# --- who may import whom ----------------------------------------------------------------------------------------------


def test_the_import_rules_hold():
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@each_module
def test_only_widgets_import_ipywidgets(path: Path):
    assert room(path) == "widgets" or not names(imports(path), "ipywidgets")


@each_module
def test_nobody_but_the_command_line_imports_the_sandbox(path: Path):
    assert room(path) in ("cli", "sandbox") or not names(imports(path), f"{TOP}.sandbox")


@each_module
def test_the_leaves_import_nothing_of_the_rooms(path: Path):
    leaves = ("catalogue", "errors", "result", "secrets", "clock", "given", "looks", "visible", "words")
    if room(path) in leaves:
        assert all(one.split(".")[1] in leaves for one in imports(path) if one.startswith(f"{TOP}."))


def test_a_forbidden_import_would_be_seen(tmp_path: Path):
    file = tmp_path / "module.py"
    file.write_text(f"def lazily():\n    from {TOP} import sandbox\n    import ipywidgets.widgets as w\n")
    assert names(imports(file), f"{TOP}.sandbox")
    assert names(imports(file), "ipywidgets")
    assert not names(imports(file), "ipy")


# --- what a module may be ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [one for one in MODULES if one.name not in DATA], ids=lambda path: path.name)
def test_no_module_is_longer_than_400_lines(path: Path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LINES


@each_module
def test_the_library_prints_nothing(path: Path):
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    assert not [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]


# --- what is committed ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", [REGISTRY, MACHINE, PRIVATE_KEY], ids=["registry", "machine", "private key"])
def test_no_committed_file_names_a_registry_or_a_machine_or_holds_a_private_key(pattern: re.Pattern[str]):
    content = tracked()
    assert len(content) > 100
    found = {name: match[0] for name, text in content.items() if (match := pattern.search(text))}
    assert found == {}


def test_what_must_not_be_committed_would_be_seen():
    assert REGISTRY.search("https://" + "pypi" + ".org/simple")
    assert MACHINE.search('open("/' + 'root/.digicert")')
    assert MACHINE.search("cd /" + "home/ann/project")
    assert not MACHINE.search("build/" + "work/x")
    body = "MIIEvQIBADANBgkqhkiG9w0BAQEF"
    for kind in ("", "RSA ", "EC ", "ENCRYPTED "):
        assert PRIVATE_KEY.search("-----" + f"BEGIN {kind}PRIVATE KEY-----\n{body}")
        assert PRIVATE_KEY.search("-----" + f"BEGIN {kind}PRIVATE KEY-----\\n{body}")
    assert not PRIVATE_KEY.search("-----" + f"BEGIN CERTIFICATE-----\n{body}")
