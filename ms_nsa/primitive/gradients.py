# SPDX-License-Identifier: Apache-2.0
"""Gradient functions of primitives."""


def make_bprop(gradient):
    """The gradient function of a primitive. Made on demand: Graph mode needs a function, which cannot be pickled."""
    if gradient is None:
        return None
    make, given = gradient
    return make(given)
