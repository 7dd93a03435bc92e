"""Run the notebooks from top to bottom and keep their outputs.

    python notebooks/run.py                           all of them, in a temporary folder
    python notebooks/run.py 02_convlstm 03_lrcn --folder ~/course    these two, in a folder that stays
    python notebooks/run.py --check                   run nothing: name those whose outputs are stale

A run also writes down how long it took, in the notebook's first cell and in README.md, and of which code and
version of harkeras the outputs are. A notebook in which a check fails keeps the outputs that it had.
"""

import argparse
import base64
import hashlib
import io
import math
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from PIL import Image

import harkeras

FOLDER = Path(__file__).resolve().parent
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
# What a run fills in: "**Takes** about 3 minutes on two CPU cores", and the last column of README's table.
TAKES = re.compile(r"(?<=\*\*Takes\*\* )about .*?(?= on two CPU cores)")


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def is_check(cell):
    """Say whether a cell holds the text before it against the outputs, and is hidden from the reader."""
    return "check" in cell.metadata.get("tags", [])


def execute(notebook, folder):
    """Run a notebook in a folder, with a new kernel of this interpreter; its outputs are filled in."""
    env = {
        name: value for name, value in os.environ.items() if name != "MPLBACKEND"
    }  # the notebook has its own
    env |= {"TQDM_DISABLE": "1", "PYTHONWARNINGS": "ignore:IProgress not found"}  # bars are for people
    NotebookClient(
        notebook,
        # Without folders to look in, "python3" is this interpreter, whatever is registered under that name.
        km=AsyncKernelManager(kernel_spec_manager=KernelSpecManager(kernel_dirs=[])),
        extra_arguments=["--IPKernelApp.capture_fd_output=False"],  # what TensorFlow's C++ code logs
        coalesce_streams=True,
        record_timing=False,
        timeout=3600,
    ).execute(cwd=str(folder), env=env, cleanup_kc=True)


def fingerprint(notebook):
    """Return what outputs depend on: a digest of all code cells, and the version of harkeras."""
    code = "\0".join(cell.source for cell in code_cells(notebook))
    return {"code_sha256": hashlib.sha256(code.encode()).hexdigest(), "version": harkeras.__version__}


def staleness(notebook):
    """Say why the outputs of a notebook are not those of its code, or return None."""
    run = notebook.metadata.get("harkeras")
    now = fingerprint(notebook)
    if run is None:
        return "no run has been written down"
    if run["code_sha256"] != now["code_sha256"]:
        return "its code has changed since it was run"
    if run["version"] != now["version"]:
        return f"it was run with harkeras {run['version']}, this is {now['version']}"
    return None


def shrink_pictures(notebook):
    """Store each picture with 256 colors: a third of the bytes, and no difference that one sees."""
    for cell in code_cells(notebook):
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                picture = Image.open(io.BytesIO(base64.b64decode(output.data["image/png"])))
                picture.convert("RGB").quantize(256).save(file := io.BytesIO(), "png", optimize=True)
                output.data["image/png"] = base64.b64encode(file.getvalue()).decode()


def duration(seconds):
    minutes = round(seconds / 60)
    return f"{minutes} minutes" if minutes > 1 else "a minute"


def run(path, folder):
    """Run one notebook; write its outputs, its time and its fingerprint."""
    notebook = nbformat.read(path, as_version=4)
    start, before = time.perf_counter(), os.times()
    try:
        execute(notebook, folder)
    finally:
        nbformat.write(notebook, folder / path.name)  # to see what came out where a check fails
    after = os.times()  # children are the kernel and what it started; it has ended
    busy = after.children_user + after.children_system - before.children_user - before.children_system
    # Where other programs take the cores, the kernel's own time is nearer to what a reader waits.
    seconds = min(time.perf_counter() - start, busy or math.inf)
    shrink_pictures(notebook)
    notebook.metadata["harkeras"] = {**fingerprint(notebook), "seconds": round(seconds)}
    first = notebook.cells[0]
    first.source = TAKES.sub(f"about {duration(seconds)}", first.source)
    nbformat.write(notebook, path)
    readme = FOLDER / "README.md"
    row = re.compile(rf"^(\| \[{path.stem}\]\(.*\| ).*( \|)$", re.MULTILINE)
    readme.write_text(row.sub(rf"\g<1>{duration(seconds)}\g<2>", readme.read_text()))
    print(f"{path.name}: {seconds:.0f} s, {path.stat().st_size / 1000:.0f} kB", flush=True)


def main():
    parser = argparse.ArgumentParser(description="Run the notebooks and keep their outputs.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="such as 03_lrcn; all of them by default")
    parser.add_argument("--folder", type=Path, help="where to run them; clips and models stay there")
    parser.add_argument("--check", action="store_true", help="run nothing; name those with stale outputs")
    options = parser.parse_args()
    unknown = set(options.names) - {path.stem for path in NOTEBOOKS}
    if unknown:
        parser.error(f"no notebook named {', '.join(sorted(unknown))}")
    paths = [path for path in NOTEBOOKS if not options.names or path.stem in options.names]
    if options.check:
        stale = {path.name: staleness(nbformat.read(path, as_version=4)) for path in paths}
        sys.exit("\n".join(f"{name}: {reason}" for name, reason in stale.items() if reason) or 0)
    failed = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for path in paths:
            try:
                run(path, folder)
            except CellExecutionError as error:
                print(f"{path.name}: not kept\n{error}", file=sys.stderr)
                failed.append(path.stem)
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
