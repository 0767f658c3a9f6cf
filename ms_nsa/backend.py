# SPDX-License-Identifier: Apache-2.0
"""What users ask of the native library and of the environment: the names of :mod:`native` and :mod:`report`.

Nothing in the package imports this module, so that ``python -m ms_nsa.backend`` does not run what is loaded already.
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
