# SPDX-License-Identifier: Apache-2.0
"""Marks of tests."""

import pytest


def slow(*values):
    """A set of parameters of the long suite."""
    return pytest.param(*values, marks=pytest.mark.slow)
