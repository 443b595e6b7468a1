"""Serve the page on this machine: `python -m pipeline.demo [PORT]`."""

import os
from importlib.util import find_spec
from tempfile import TemporaryDirectory

from pipeline.config import params
from pipeline.errors import UserError
from pipeline.utils import ports, workdir
from pipeline.utils.entry_point import entry

PORT = 7860  # where none is named


def main(port: str = str(PORT)) -> None:
    """Print the address, and serve until Ctrl-C."""
    os.chdir(workdir.root().parent)  # paths of models and data are relative to it
    if find_spec("gradio") is None:
        raise UserError("Gradio is not installed; `make demo` installs it")
    number = ports.checked(port, "make demo PORT=7861")
    workdir.root().mkdir(exist_ok=True)
    with TemporaryDirectory(prefix="demo-", dir=workdir.root()) as temporary:
        from pipeline.demo import server
        from pipeline.demo.models import Models

        server.prepare(temporary)
        models = Models(params.scale())
        app = server.app_of(models)
        print(f"http://{ports.LOCAL}:{number}", flush=True)
        server.serve(app, number)
        print("stopped")


if __name__ == "__main__":
    entry(main)
