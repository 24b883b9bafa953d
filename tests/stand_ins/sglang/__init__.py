"""Stands in for SGLang 0.5.23, which needs several gigabytes and an accelerator: those of its members that
`modeldist.engines` uses, with their signatures, their order of calls and their refusals, and nothing else.
"""

import os

__version__ = os.environ.get("STAND_IN_VERSION", "0.5.23")
