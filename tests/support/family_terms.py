# SPDX-License-Identifier: Apache-2.0
"""term_scales.py for compressed attention and the sliding window: what each attends to, as a case that it reads."""

from types import SimpleNamespace

import numpy as np

from ms_nsa import family_rules

from .term_scales import term_scales


def out_terms(arguments):
    return term_scales(_case(arguments, *_compressed(arguments)))["attention_out"]


def grad_terms(arguments, grad, of_statistics=(None, None)):
    return term_scales(_case(arguments, *_compressed(arguments), grad, of_statistics), gradients=True)


def window_terms(arguments, grad=None, of_statistics=(None, None)):
    lengths = arguments["actual_seq_qlen"], arguments["actual_seq_kvlen"]
    sequences = family_rules.raw_sequences(arguments["query"], arguments["key"], arguments["head_num"], *lengths)
    sight = family_rules.Sliding(arguments["window_size"])
    return term_scales(_case(arguments, sequences, sight, None, grad, of_statistics), gradients=grad is not None)


def _compressed(arguments):
    names = "compress_block_size", "compress_stride", "sparse_mode"
    windows = family_rules.Windows(*(arguments[name] for name in names))
    lengths = arguments["actual_seq_qlen"], arguments["actual_seq_kvlen"]
    query, key, head_num = (arguments[name] for name in ("query", "key", "head_num"))
    return family_rules.compressed_sequences(query, key, head_num, windows, *lengths), windows, arguments["atten_mask"]


def _case(arguments, sequences, sight, atten_mask, grad=None, of_statistics=(None, None)):
    """What term_scales reads of a case; made anew for every call, as it caches them."""
    query, key, value = (arguments[name] for name in ("query", "key", "value"))
    selections = list(family_rules.visible_selections(sequences, key.shape[1], sight, atten_mask))
    given = None if of_statistics[0] is None else tuple(np.asarray(array) for array in of_statistics)
    return _Case(
        query_rows=query, key_rows=key, value_rows=value, dtype=query.dtype, grad=grad, statistics_grad=given,
        scale=family_rules.scale_of(arguments["scale_value"], query.shape[2]), selections=lambda: selections,
        attention_out_shape=(*query.shape[:2], value.shape[2]),
    )  # fmt: skip


class _Case(SimpleNamespace):
    __hash__ = object.__hash__
