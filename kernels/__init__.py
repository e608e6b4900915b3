"""Triton kernels: one skeleton that every element-wise rule shares, and one small rule per optimizer family.

Read :mod:`.skeleton` first, then any rule. This package imports triton and nothing of torchopt_notes.
"""

import os

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
"""Whether the kernels of this process run in Triton's interpreter. Read once: ``@triton.jit`` decides when it runs."""
