# SPDX-License-Identifier: Apache-2.0
"""Compares an operator's result with the oracle's: inf and NaN positions, RMS error, then every element.

Errors are measured against the larger of the reference and the size of the terms that a kernel rounds on its
way to it (term_scales.py): where a result cancels, to zero even, its error is a fraction of those terms and
not of the result. Results that do not cancel are as large as their terms, so nothing is given away there;
where there are no terms at all the result must be exactly zero.
"""

from typing import NamedTuple

import numpy as np

from .term_scales import term_scales


class Bar(NamedTuple):
    """Largest error as a fraction of the scale: root mean square over the tensor, and of a single element."""

    rms: float
    element: float


_STATISTICS = {"softmax_max": Bar(1e-5, 1e-4), "softmax_sum": Bar(1e-4, 1e-3)}
BARS = {
    "float16": {"out": Bar(6e-4, 2e-3), "grad": Bar(1e-3, 4e-3), **_STATISTICS},
    "bfloat16": {"out": Bar(4e-3, 1.6e-2), "grad": Bar(6e-3, 3e-2), **_STATISTICS},
    "float32": {"out": Bar(2e-6, 1e-5), "grad": Bar(1e-5, 1e-5), **_STATISTICS},
}


class Comparison(NamedTuple):
    rms_ratio: float  # RMS error / RMS scale
    failure: str  # empty if the tensor is right


def check_forward(case, attention_out, softmax_max=None, softmax_sum=None):
    """Asserts that attention_out, and the statistics if given, are right; returns their RMS ratios."""
    oracle = case.forward if isinstance(case.forward, tuple) else (case.forward,)
    terms = term_scales(case)["attention_out"]
    found = {"attention_out": compare_tensor(attention_out, oracle[0], "out", case.dtype, terms)}
    if softmax_max is not None:
        # The error of a score is a fraction of the score; it enters the sum as a factor.
        score = np.maximum(1, np.abs(np.where(np.isfinite(oracle[1]), oracle[1], 0)))
        found["softmax_max"] = compare_tensor(softmax_max, oracle[1], "softmax_max", case.dtype, score)
        found["softmax_sum"] = compare_tensor(softmax_sum, oracle[2], "softmax_sum", case.dtype, score * oracle[2])
    return _assert_right(case, found)


def check_gradients(case, dq, dk, dv):
    """Asserts that the gradients are right; returns their RMS ratios."""
    terms = term_scales(case, gradients=True)
    found = {}
    for name, actual, expected in zip(("dq", "dk", "dv"), (dq, dk, dv), case.gradients):
        found[name] = compare_tensor(actual, expected, "grad", case.dtype, terms[name])
    return _assert_right(case, found)


def compare_tensor(actual, expected, kind, dtype, terms=None):
    """Compares one tensor with the oracle's; ``kind`` is "out", "grad", "softmax_max" or "softmax_sum"."""
    actual, dtype = np.asarray(actual).astype(np.float64), np.dtype(dtype)
    if actual.shape != expected.shape:
        return Comparison(np.inf, f"must have shape {expected.shape}, got {actual.shape}")
    if kind in ("out", "grad"):
        expected = _overflow(expected, dtype)
    for name, test in (("NaN", np.isnan), ("inf", np.isposinf), ("-inf", np.isneginf)):
        wrong = test(actual) != test(expected)
        if wrong.any():
            return Comparison(np.inf, f"differs in what is {name}: {_at(wrong, actual, expected)}")
    finite = np.isfinite(expected)
    actual, expected = np.where(finite, actual, 0), np.where(finite, expected, 0)
    terms = np.zeros_like(expected) if terms is None else np.where(finite, terms, 0)
    return _judge(actual, expected, terms, BARS[dtype.name][kind])


def _judge(actual, expected, terms, bar):
    error = np.abs(actual - expected)
    rms_error, rms_scale = _rms(error), max(_rms(expected), _rms(terms))
    ratio = rms_error / rms_scale if rms_scale else np.inf if rms_error else 0.0
    excess = error - bar.element * np.maximum(np.abs(expected), terms)
    failure = ""
    if ratio > bar.rms:
        failure = f"has RMS error ratio {ratio:.3g} above {bar.rms:g}, worst {_at(excess, actual, expected)}"
    elif (excess > 0).any():
        failure = f"has an element off by more than {bar.element:g}, {_at(excess, actual, expected)}"
    return Comparison(ratio, failure)


def _overflow(expected, dtype):
    """Values too large for the storage type are inf there."""
    with np.errstate(over="ignore"):
        stored = expected.astype(dtype).astype(np.float64)
    return np.where(np.isinf(stored), stored, expected)


def _rms(array):
    return float(np.sqrt(np.mean(array**2))) if array.size else 0.0


def _at(badness, actual, expected):
    where = tuple(int(i) for i in np.unravel_index(np.argmax(badness), badness.shape))
    return f"at {list(where)}: got {actual[where]:.9g}, expected {expected[where]:.9g}"


def _assert_right(case, found):
    failures = [f"{name} {comparison.failure}" for name, comparison in found.items() if comparison.failure]
    assert not failures, "\n".join([*failures, str(case)])
    return {name: comparison.rms_ratio for name, comparison in found.items()}
