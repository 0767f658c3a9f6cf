# SPDX-License-Identifier: Apache-2.0
"""Gradient functions of primitives."""


def make_bprop(gradient):
    """The gradient function of a primitive; made here because Graph mode wants a function, and those do not pickle."""
    if gradient is None:
        return None
    make, given = gradient
    return make(given)
