# SPDX-License-Identifier: Apache-2.0
"""What holds for all tests."""

import os

# Several processes test at once: a thread that spins while it waits for others would keep a processor from them.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
