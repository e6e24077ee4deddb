"""Executes a folder of notebooks with one engine: `python -m tests.engine.both ENGINE FROM TO`.

Each is written to TO, with how papermill ended in its metadata as `ended`.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

import nbformat
from papermill.execute import execute_notebook


def main() -> None:
    engine, source, to = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    os.environ.pop("PYTEST_CURRENT_TEST", None)  # with it, ipykernel does not watch the file descriptors 1 and 2
    warnings.simplefilter("ignore")
    for path in sorted(source.glob("*.ipynb")):
        ended = ""
        try:
            execute_notebook(
                path,
                to / path.name,
                parameters=nbformat.read(path, 4).metadata.get("given", {}),
                engine_name=None if engine == "papermill" else engine,
                progress_bar=False,
                execution_timeout=30,
            )
        except Exception as error:  # noqa: BLE001 - it is what is compared
            ended = type(error).__name__
        nb = nbformat.read(to / path.name, 4)
        nb.metadata["ended"] = ended
        nbformat.write(nb, to / path.name)


if __name__ == "__main__":
    main()
