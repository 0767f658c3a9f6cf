# SPDX-License-Identifier: Apache-2.0
"""The public names of :mod:`native` and :mod:`report`.

No module of the package imports this one; otherwise ``python -m ms_nsa.backend`` would warn that it is already loaded.
"""

import sys

from ms_nsa.native import call, current_isa, library, library_path, select_isa, supported_isas, threads
from ms_nsa.report import main, report

__all__ = [
    "call",
    "current_isa",
    "library",
    "library_path",
    "main",
    "report",
    "select_isa",
    "supported_isas",
    "threads",
]

if __name__ == "__main__":
    sys.exit(main())
