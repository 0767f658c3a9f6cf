# SPDX-License-Identifier: Apache-2.0
"""Prints the environment report."""

import sys

from ms_nsa.report import main

if __name__ == "__main__":
    sys.exit(main())
