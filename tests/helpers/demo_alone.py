"""`python -m pipeline.demo`, with every name that it looks up and every address that it connects to
beyond this machine written into a file: `python tests/helpers/demo_alone.py FILE PORT`."""

import runpy
import sys

LOCAL = ("127.0.0.1", "::1", "localhost", "0.0.0.0", "", None)
asked = open(sys.argv.pop(1), "a", encoding="utf-8")  # noqa: SIM115  until the end


def watch(event: str, arguments: tuple) -> None:
    """An audit hook."""
    host = LOCAL[0]
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    elif event == "socket.getaddrinfo":
        host = arguments[0]
    if host not in LOCAL:
        print(event, host, file=asked, flush=True)


if __name__ == "__main__":
    sys.addaudithook(watch)
    runpy.run_module("pipeline.demo", run_name="__main__", alter_sys=True)
