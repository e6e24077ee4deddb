"""Small notebooks in the manner of those that people publish: what they show must not depend on the engine."""

from __future__ import annotations

STORIES: dict[str, tuple[str, ...]] = {
    "arithmetic": ("1 + 1", "_ + 1", "a = 3; a", "a;"),
    "prints": (
        "print('one')\nprint('two')",
        "print('no newline', end='')",
        "import sys; sys.stderr.write('warned\\n')",
    ),
    "an error": ("def f(x): return 1 / x", "f(0)", "print('never')"),
    "an error in an error": ("try:\n    {}['a']\nexcept KeyError as e:\n    raise ValueError('wrapped') from e",),
    "a syntax error": ("print('fine')", "1 +"),
    "an error with a repr that fails": ("class A:\n    def __repr__(self): raise RuntimeError('no')", "A()"),
    "display kinds": (
        "from IPython.display import *\n"
        "display(HTML('<b>x</b>'), Markdown('*y*'), Latex('$z$'), JSON({'a': [1]}), SVG('<svg/>'))",
        "display({'text/plain': 'raw', 'application/x-own': {'k': (1, 2)}}, raw=True, metadata={'m': 1})",
        "Image(data=bytes.fromhex('89504e470d0a1a0a'), format='png')",
        "Javascript('1'), Code('x = 1')",
    ),
    "a rich table": (
        "import pandas as pd",
        "df = pd.DataFrame({'a': range(40), 'b': [i / 3 for i in range(40)]})\ndf",
        "df.describe().round(2)",
        "df.head(2).style.format('{:.1f}').set_uuid('t')",
    ),
    "a plot inline": (
        "%matplotlib inline\nimport matplotlib.pyplot as plt",
        "fig, ax = plt.subplots(figsize=(2, 1))\n_ = ax.plot([1, 2, 4])",
        "plt.bar([1, 2], [3, 4]); plt.title('bars'); plt.show()\nprint('after')",
        "plt.get_backend()",
    ),
    "a plot without a magic": (
        "import matplotlib.pyplot as plt\nplt.plot([3, 1])",
        "plt.gcf().number, plt.isinteractive()",
    ),
    "SVG plots": (
        "import matplotlib; matplotlib.rcParams['svg.hashsalt'] = 's'\n%config InlineBackend.figure_formats = ['svg']",
        "import matplotlib.pyplot as plt\nplt.figure(figsize=(1, 1)); plt.plot([1, 2]); None",
    ),
    "tqdm": (
        "from tqdm import tqdm\nfor _ in tqdm(range(3), bar_format='{l_bar}{n}/{total}', mininterval=0): pass",
        "from tqdm.auto import tqdm as auto\nauto.__module__",
    ),
    "rich": (
        "from rich import print\nprint('[bold]hello[/bold]', {'a': 1})",
        "from rich.table import Table\nt = Table('a', 'b'); t.add_row('1', '2'); print(t)",
        "from rich.progress import track\nsum(track(range(3), description='working', disable=True))",
    ),
    "input": ("input('name? ')", "print('never')"),
    "a password": ("import getpass; getpass.getpass()",),
    "threads": (
        "import threading\nt = [threading.Thread(target=lambda n=n: print('thread', n)) for n in range(3)]",
        "for one in t: one.start(); one.join()",
        "from concurrent.futures import ThreadPoolExecutor\nlist(ThreadPoolExecutor(2).map(abs, [-1, -2]))",
    ),
    "an error in a thread": (
        "import threading\nt = threading.Thread(target=lambda: 1 / 0, name='T'); t.start(); t.join(); print('lives')",
    ),
    "asyncio": (
        "import asyncio\nasync def f(n): await asyncio.sleep(0.01 * n); print('after', n); return n",
        "await asyncio.gather(*(f(n) for n in (3, 1, 2)))",
        "task = asyncio.create_task(f(1))",
        "await task, asyncio.get_running_loop().is_running()",
        "asyncio.run(f(1))",
    ),
    "an asynchronous generator": ("async def g():\n    for n in range(3): yield n", "[n async for n in g()]"),
    "context variables": ("import contextvars; v = contextvars.ContextVar('v'); _ = v.set(1)", "v.get(None)"),
    "subprocesses": (
        "import subprocess\nsubprocess.run(['echo', 'from a child'], check=True).returncode",
        "subprocess.check_output(['sh', '-c', 'echo captured']).decode()",
        "!echo bang",
        "files = !printf 'a\\nb\\n'\nfiles",
        "import os; os.system('echo system')",
    ),
    "file descriptors": (
        "import os, time; os.write(1, b'straight\\n'); time.sleep(0.5)",
        "import sys; print('dunder', file=sys.__stdout__, flush=True); time.sleep(0.5)",
        "sys.stdout.isatty(), sys.stdin.isatty(), sys.stdout.encoding",
    ),
    "big outputs": (
        "print('x' * 1_000_000)",
        "for n in range(3000): print(n, 'line')",
        "'y' * 100_000",
        "list(range(2000))",
    ),
    "magics": (
        "%%capture got\nprint('caught')",
        "got.stdout",
        "%%writefile made.txt\nhello",
        "%cat made.txt",
        "%who_ls",
        "%xmode Minimal",
        "1 / 0",
    ),
    "more magics": (
        "%pwd",
        "%env HOME",
        "%lsmagic",
        "%%html\n<i>x</i>",
        "%%javascript\n1",
        "%%latex\n$x$",
        "%precision 2",
        "3.14159",
    ),
    "shell cells": ("%%bash\necho out; echo err >&2", "%%sh\necho sh", "%%script false", "print('never')"),
    "an unknown magic": ("%no_such_magic",),
    "history": ("a = 1", "In[1], Out, _ih[2][:5]", "2", "Out[3], _, __", "%history -n"),
    "help": ("print?", "len??", "import os\n?os.sep"),
    "updates of a display": (
        "h = display('first', display_id='d')",
        "h.update('second')",
        "from IPython.display import update_display; update_display({'text/plain': 'third'}, display_id='d', raw=True)",
        "display('twin', display_id='d'); h.update('fourth')",
    ),
    "clear_output": (
        "from IPython.display import clear_output\nprint('gone'); clear_output(); print('stays')",
        "for n in range(3):\n    clear_output(wait=True); print(n)",
        "print('whole'); clear_output(wait=True)",
    ),
    "widgets": (
        "import ipywidgets as w\ns = w.IntSlider(value=3); s",
        "s.value = 5",
        "b = w.Button(description='go'); b.on_click(lambda _: print('clicked')); b.click(); w.VBox([s, b])",
        "out = w.Output()\nwith out: print('inside'); display(3)",
        "out.outputs and len(out.outputs)",
        "w.interact(lambda x: x * 2, x=4);",
    ),
    "warnings": (
        "import warnings; warnings.warn('careful')",
        "warnings.warn('old', DeprecationWarning)",
        "warnings.simplefilter('error'); warnings.warn('now an error')",
    ),
    "logging": (
        "import logging; logging.warning('by the root'); logging.info('unseen')",
        "logging.basicConfig(level=logging.INFO, format='%(message)s', force=True); logging.info('seen')",
        "logging.getLogger('x').handlers, logging.getLogger().level",
    ),
    "sys.exit": ("import sys; sys.exit('bye')", "print('after')"),
    "exit and quit": ("exit()", "print('after')"),
    "KeyboardInterrupt": ("raise KeyboardInterrupt", "print('after')"),
    "a signal to itself": ("import os, signal, time\nos.kill(os.getpid(), signal.SIGINT); time.sleep(1)",),
    "multiprocessing": (
        "import multiprocessing as mp\ndef f(x): return x * x",
        "with mp.get_context('fork').Pool(2) as pool: print(pool.map(f, [1, 2, 3]))",
        "def say(): print('from a process', flush=True)",
        "p = mp.get_context('fork').Process(target=say); p.start(); p.join(); import time; time.sleep(0.5); p.exitcode",
    ),
    "a fork": ("import os\nif os.fork() == 0:\n    os._exit(3)\nos.waitpid(-1, 0)[1]",),
    "randomness seeded": (
        "import random, numpy as np; random.seed(1); np.random.seed(1)",
        "random.random(), np.random.rand(), np.random.default_rng(2).random()",
    ),
    "numpy": ("import numpy as np; np.arange(12).reshape(3, 4)", "np.linalg.inv(np.eye(2) * 4)", "np.array([1.0]) / 0"),
    "sets and dicts": ("{3, 1, 2}", "{'b': 1, 'a': {'nested': [1, 2]}}", "dict.fromkeys(range(60))"),
    "unicode": ("'ünï ✓ \\u202e'", "print('日本', '\\ud83d'.encode('utf-8', 'replace'))", "print(chr(0x1F600))"),
    "tags": ("raise ValueError('expected')  # tag: raises-exception", "print('on')"),
    "postcell hooks": (
        "ip = get_ipython()\nip.events.register('post_run_cell', lambda r: print('post', r.success))",
        "1",
        "type(ip).__name__, ip.kernel is not None, 'IPKernelApp' in ip.config",
    ),
    "storemagic": ("x = 41", "%store x", "del x", "%store -r x", "x + 1"),
    "traceback styles": (
        "import traceback\ntry: 1 / 0\nexcept ZeroDivisionError: traceback.print_exc()",
        "import this_is_not_there",
    ),
    "recursion": ("def r(n): return r(n + 1)", "r(0)"),
    "the process": (
        "import sys; sys.path[0], sys.flags.safe_path, len(sys.argv) > 0, __name__",
        "import threading; threading.current_thread() is threading.main_thread()",
        "from signal import *; getsignal(SIGTERM), getsignal(SIGINT), getsignal(SIGCHLD), getsignal(SIGPIPE)",
        "import os; {k: os.environ.get(k) for k in ('MPLBACKEND', 'PAGER', 'TERM', 'CLICOLOR', 'FORCE_COLOR')}",
    ),
    "exit hooks": ("import atexit, pathlib; _ = atexit.register(pathlib.Path('hook-ran').write_text, 'yes')", "1"),
}
"""Cells by what they are about. `# tag: NAME` in a cell tags it."""

FEW = (
    "display kinds",
    "a plot inline",
    "asyncio",
    "widgets",
    "subprocesses",
    "multiprocessing",
    "updates of a display",
)
"""What `make test` compares; all of them with RUNBOOK_SOAK=1."""
