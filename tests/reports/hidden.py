"""Places in a run where a cell can hide a secret, and the search for it afterwards."""

from __future__ import annotations

from tests.notebook_runs import RECORDS

SECRET = 'Zk4"pq7&<mX/9w,2+Tr8vB'
"""It has characters that CSV, HTML, JSON and URLs each write in their own way."""

VARIABLE = "CANARY"

PREPARE = f"""
{RECORDS}
import base64, json, os, subprocess, sys
secret = os.environ["{VARIABLE}"]
def told(**more):
    step("look", Result(verdict=Verdict.OK, headline="h", **more))
def table(name, title, cell):
    return Table(name=name, title=title, columns=("a",), rows=((cell,),))
def shown(**metadata):
    display({{"text/plain": "-"}}, raw=True, metadata=metadata)
"""

CHILD = f"[sys.executable, '-c', 'import os, sys; sys.stderr.write(os.environ[\"{VARIABLE}\"])']"
"""The command of a process that writes the secret to its standard error."""

PLACES = {
    "output": "print(secret)",
    "standard error": "print(secret, file=sys.stderr)",
    "a child's standard error": f"print(subprocess.run({CHILD}, stderr=subprocess.PIPE, text=True).stderr)",
    "a traceback": "raise ValueError(secret)",
    "a traceback's key": "{}[secret]",
    "the message of an exit": "sys.exit(secret)",
    "a table's title": "told(tables=(table('t', f'of {secret}', 'b'),))",
    "a table's cell": "told(tables=(table('t', 't', f'say {secret}, then'),))",
    "the second file of a step": "told(tables=(table('one', 't', 'b'), table('two', 't', secret)))",
    "a step's reason": "told(reason=secret)",
    "a DataFrame": "import pandas; display(pandas.DataFrame({'a': [secret]}))",
    "a DataFrame's CSV": "import pandas; print(pandas.DataFrame({'a': [secret]}).to_csv(quoting=1))",
    "adjacent outputs": "[display({'text/plain': one}, raw=True) for one in (secret[:9], secret[9:])]",
    "output and error by turns": "print(secret[:9], end='', flush=True)\nprint('-', file=sys.stderr, flush=True)\n"
    "print(secret[9:], flush=True)",
    "a name in the metadata": "shown(**{secret: 1})",
    "base64 of JSON": "print(base64.b64encode(json.dumps({'key': secret}).encode()).decode())",
    "a kernel that dies": "print(secret, flush=True)\nimport time; time.sleep(1)\nos.kill(os.getpid(), 9)",
}
