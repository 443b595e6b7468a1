"""python -m pipeline.orchestration.dvc_process: `dvc`, without Python's garbage collector.

After each stage DVC reads and writes all of dvc.lock, as trees of objects that no cycle keeps alive.
Looking for such cycles takes a sixth of that time (docs/performance.md).
"""

import gc
import sys

from dvc.cli import main

if __name__ == "__main__":
    gc.disable()
    sys.exit(main())
