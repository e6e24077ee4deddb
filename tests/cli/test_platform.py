"""Where the command line cannot work, it says so in one sentence."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(("platform", "code"), [("win32", 1), ("linux", 0)])
def test_windows_is_refused_in_one_sentence_that_names_wsl2(platform: str, code: int):
    program = f"import sys; sys.platform = {platform!r}; import runbook_lib.cli"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert ("WSL2" in done.stderr) == (platform == "win32")
    assert "Traceback" not in done.stderr
