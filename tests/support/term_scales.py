# SPDX-License-Identifier: Apache-2.0
"""How large the terms are that a kernel rounds on its way to a result that may itself cancel to nothing.

A kernel rounds the softmax weights p, the score gradients ds and attention_out (hence delta = grad . out in
the gradient) to the storage type, each by a fraction of itself. These errors are independent, so the error of
out = sum p v is a fraction of sqrt(sum p^2 v^2), and likewise for the gradients. A term below the type's
smallest normal number is rounded by a fraction of that number instead, and below float32's it may be flushed to
zero, as vector units do. Scores and grad . value are float32: measured in the storage type's precision their
errors matter only where that is float32 too.
"""

from functools import lru_cache

import ml_dtypes
import numpy as np

from ms_nsa import reference


def statistics_terms(case, token, group, weights, total):
    """The sizes of what the statistics' gradients add to ds."""
    if getattr(case, "statistics_grad", None) is None:
        return 0
    max_grad, sum_grad = (np.abs(given[token, group].astype(np.float64).sum(axis=1)) for given in case.statistics_grad)
    by_exponentials = sum_grad[:, None] * total
    largest = weights == weights.max(axis=1, keepdims=True)
    return weights * by_exponentials + largest * (max_grad[:, None] + by_exponentials)


@lru_cache(maxsize=4)
def term_scales(case, gradients=False):
    """The root of the sum of squares of the rounded terms: attention_out and, if asked for, dq, dk, dv.

    Zero where there is no term, so that the result there must be exactly zero.
    """
    query, key, value = (rows.astype(np.float64) for rows in (case.query_rows, case.key_rows, case.value_rows))
    storage, single = ml_dtypes.finfo(case.dtype), np.finfo(np.float32)
    tiny = max(float(storage.smallest_normal), float(single.smallest_normal) / float(storage.eps))
    float32 = float(single.eps / storage.eps)
    out = np.zeros((*query.shape[:2], value.shape[2]))
    dq, dk, dv = np.zeros_like(query), np.zeros_like(key), np.zeros_like(value)
    for token, head, rows, count in case.selections():
        group = reference.group_of(head, query.shape[1], key.shape[1])
        q, k, v = query[token, group], key[rows, head], value[rows, head]
        weights, _, total = reference.softmax(q, k, case.scale, count)
        score = float32 * np.abs(case.scale) * np.sqrt(q**2 @ (k**2).T)
        p2 = (np.maximum(weights, count * tiny) * np.maximum(1, score)) ** 2
        out[token, group] = p2 @ v**2
        if gradients:
            grad = case.grad[token, group].astype(np.float64)
            exact_out = weights @ v
            delta2 = (grad**2 * np.maximum(exact_out**2, out[token, group])).sum(axis=1, keepdims=True)
            ds = weights * (grad @ v.T - (grad * exact_out).sum(axis=1, keepdims=True))
            ds = ds + statistics_terms(case, token, group, weights, total)
            ds2 = (np.maximum(np.abs(ds), count * tiny) * np.maximum(1, score)) ** 2
            ds2 += (float32 * weights) ** 2 * (grad**2 @ (v**2).T)
            dq[token, group] = case.scale**2 * (ds2 @ k**2 + delta2 * (weights @ k) ** 2)
            dk[rows, head] += case.scale**2 * (ds2 + weights**2 * delta2).T @ q**2
            dv[rows, head] += p2.T @ grad**2
    squares = {"attention_out": out.reshape(case.attention_out_shape), "dq": dq, "dk": dk, "dv": dv}
    return {name: np.where(sq > 0, np.maximum(np.sqrt(sq), tiny), 0) for name, sq in squares.items()}
