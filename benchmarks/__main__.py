"""``python -m benchmarks``: is it faster, by how much, and how close to the limit?"""

from __future__ import annotations

import os
import sys

# Before torch is loaded: its profiler prints a line for each start and stop.
os.environ.setdefault("KINETO_LOG_LEVEL", "6")

from benchmarks.command import main

if __name__ == "__main__":
    sys.exit(main())
