"""A download that kills itself, as a process of its own."""

import os
import signal
from collections.abc import Callable
from itertools import count
from pathlib import Path

from pipeline.data.datasets import facts
from pipeline.data.download import raw_files
from pipeline.data.download.official_files import OfficialFiles
from pipeline.data.download.params import DownloadParams, HttpParams
from pipeline.data.download.transfer import Transfer

_PIECE = 512  # bytes that are written at a time


def run(project: Path, source: str, lists: Path, address: str, moment: int) -> None:
    """Download a source into `project`, and stop dead at the `moment`-th write, rename or link, if
    there is one."""
    os.environ["DVC_ROOT"] = str(project)
    os.environ["no_proxy"] = "127.0.0.1"
    facts.FOLDER = lists
    moments = count(1)

    def deadly(call: Callable) -> Callable:
        def called(*words: object) -> None:
            now = next(moments)
            if now == moment and now % 2:
                os.kill(os.getpid(), signal.SIGKILL)
            call(*words)
            if now == moment:
                os.kill(os.getpid(), signal.SIGKILL)

        return called

    take = deadly(Transfer._take)
    Transfer._take = lambda self, file, chunk: [
        take(self, file, chunk[start : start + _PIECE]) for start in range(0, len(chunk), _PIECE)
    ]
    os.replace, os.link = deadly(os.replace), deadly(os.link)
    params = DownloadParams("upstream", None, [f"{address}/{source}/"], True)
    http = HttpParams(files=2, timeout=5.0, retries=2, pause=0.001, allow_private=False)
    raw_files.download(OfficialFiles(source, params, source, http), project / "raw" / source)
