# SPDX-License-Identifier: Apache-2.0
"""A test case: the arguments of an operator as NumPy arrays, and the oracle's answer to them."""

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Optional

import ml_dtypes
import numpy as np

from ms_nsa import reference

DTYPES = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16, "float32": np.float32}
INT32_MAX = np.iinfo(np.int32).max


@dataclass(eq=False)
class SelectCase:
    """Training forward and gradient. The arguments are those of the reference."""

    query: np.ndarray  # [T1, N1, D1]
    key: np.ndarray  # [T2, N2, D1]
    value: np.ndarray  # [T2, N2, D2]
    grad: np.ndarray  # [T1, N1, D2], gradient of attention_out
    topk_indices: np.ndarray  # int32 [T1, N2, select_block_count]
    select_block_size: int
    scale_value: Optional[float] = None
    atten_mask: Optional[np.ndarray] = None  # bool or uint8, [>= max Sq, >= max Sk]
    actual_seq_qlen: Optional[tuple] = None  # inclusive prefix sums
    actual_seq_kvlen: Optional[tuple] = None
    sparse_mode: int = 0
    statistics_grad: Optional[tuple] = None  # float32 [T1, N1, 8] each, gradients of softmax_max and softmax_sum
    name: str = "select"

    @property
    def dtype(self):
        return self.query.dtype

    @property
    def head_num(self):
        return self.query.shape[1]

    @property
    def key_value_head_num(self):
        return self.key.shape[1]

    @property
    def select_block_count(self):
        return self.topk_indices.shape[-1]

    @property
    def q_ends(self):
        """Prefix sums also where the argument is None."""
        ends = [len(self.query)] if self.actual_seq_qlen is None else self.actual_seq_qlen
        return np.array(ends, np.int64)

    @property
    def kv_ends(self):
        ends = [len(self.key)] if self.actual_seq_kvlen is None else self.actual_seq_kvlen
        return np.array(ends, np.int64)

    @property
    def scale(self):
        return reference.scale_of(self.scale_value, self.query.shape[-1])

    @property
    def attention_out_shape(self):
        return (*self.query.shape[:2], self.value.shape[2])

    @property
    def arguments(self):
        """Keyword arguments of reference.select_attention; its gradient takes ``grad`` besides."""
        names = [field.name for field in fields(self) if field.name not in ("grad", "statistics_grad", "name")]
        return {name: getattr(self, name) for name in names}

    @cached_property
    def forward(self):
        """attention_out, softmax_max, softmax_sum in float64."""
        return reference.select_attention(**self.arguments)

    @cached_property
    def gradients(self):
        """dq, dk, dv in float64."""
        max_grad, sum_grad = self.statistics_grad or (None, None)
        return reference.select_attention_grad(
            self.grad, **self.arguments, softmax_max_grad=max_grad, softmax_sum_grad=sum_grad
        )

    @cached_property
    def saved(self):
        """What the gradient is given: the forward's results in the case's dtype and float32."""
        attention_out, *statistics = self.forward
        return attention_out.astype(self.dtype), *(array.astype(np.float32) for array in statistics)

    @property
    def query_rows(self):
        return self.query

    @property
    def key_rows(self):
        return self.key

    @property
    def value_rows(self):
        return self.value

    def selections(self):
        """(token, kv head, rows, count) over query_rows, key_rows and value_rows."""
        lengths = self.actual_seq_qlen, self.actual_seq_kvlen, len(self.key)
        return reference.packed_selections(
            self.topk_indices, self.select_block_size, self.atten_mask, *lengths, self.sparse_mode
        )

    def poisoned(self):
        """The same case with NaN and Inf in every kv row that no visible selection reads: the same answer."""
        read = _rows_read(self.selections(), self.key.shape[:2])
        key, value = _poison(self.key, ~read), _poison(self.value, ~read)
        return replace(self, key=key, value=value, name=f"{self.name} poisoned")

    def __str__(self):
        return _describe(self)


@dataclass(eq=False)
class PagedCase:
    """Paged inference. The arguments are those of the reference."""

    query: np.ndarray  # BSH [B, S, N1 * D1], BSND [B, S, N1, D1], TND [T, N1, D1]
    key: np.ndarray  # [num_blocks, page_block_size, N2, D1], or the last two as one; BNSD: the heads before the rows
    value: np.ndarray  # likewise with D2
    topk_indices: np.ndarray  # int32 [B, S, N2, select_block_count], S = 1: or [B, N2, ...], TND [T, N2, ...]
    block_table: np.ndarray  # int32 [B, max_blocks]
    actual_seq_qlen: Optional[tuple]  # per sequence
    actual_seq_kvlen: tuple
    head_num: int
    key_value_head_num: int
    select_block_size: int
    page_block_size: int
    scale_value: Optional[float] = None
    layout: str = "BSND"
    atten_mask: Optional[np.ndarray] = None  # bool or uint8, [>= max q_len, >= max kv_len] or [B, S, S]
    sparse_mode: int = 0
    return_softmax_lse: bool = False
    cache_layout: str = "BSND"
    name: str = "paged"

    @property
    def dtype(self):
        return self.query.dtype

    @property
    def select_block_count(self):
        return self.topk_indices.shape[-1]

    @property
    def scale(self):
        return reference.scale_of(self.scale_value, self.key_rows.shape[2])

    @property
    def query_rows(self):
        """query as [tokens, N1, D1], the padded ones included."""
        return self.query.reshape(-1, self.head_num, self.key_rows.shape[2])

    @property
    def key_rows(self):
        """key as [num_blocks * page_block_size, N2, D1]."""
        return self._rows_of_cache(self.key)

    @property
    def value_rows(self):
        return self._rows_of_cache(self.value)

    def _rows_of_cache(self, cache):
        cache = cache.swapaxes(1, 2) if self.cache_layout == "BNSD" else cache
        return cache.reshape(len(cache) * self.page_block_size, self.key_value_head_num, -1)

    def _cache_of_rows(self, rows, cache):
        """What has these rows, in the shape of ``cache``."""
        if self.cache_layout == "BSND":
            return rows.reshape(cache.shape)
        pages = rows.reshape(len(cache), self.page_block_size, *rows.shape[1:])
        return np.ascontiguousarray(pages.swapaxes(1, 2))

    def heads_first(self):
        """The same case with a cache in BNSD."""
        case = replace(self, cache_layout="BNSD")
        shape = len(self.key), self.key_value_head_num, self.page_block_size
        key, value = (
            case._cache_of_rows(rows, np.empty((*shape, rows.shape[2]), rows.dtype))
            for rows in (self.key_rows, self.value_rows)
        )
        return replace(case, key=key, value=value, name=f"{self.name} BNSD")

    @property
    def topk_rows(self):
        """topk_indices as [tokens, N2, select_block_count]."""
        return self.topk_indices.reshape(-1, self.key_value_head_num, self.select_block_count)

    @property
    def q_lens(self):
        """Tokens of each sequence, also where the argument is None."""
        each = 1 if self.layout == "TND" else self.query.shape[1]
        lens = [each] * len(self.block_table) if self.actual_seq_qlen is None else self.actual_seq_qlen
        return np.array(lens, np.int64)

    @property
    def query_start(self):
        """First token row of each sequence."""
        if self.layout == "TND":
            return np.cumsum(self.q_lens) - self.q_lens
        return np.arange(len(self.block_table), dtype=np.int64) * self.query.shape[1]

    @property
    def attention_out_shape(self):
        heads = self.head_num, self.value_rows.shape[2]
        leading = self.query.shape[: 1 if self.layout == "TND" else 2]
        return (*leading, heads[0] * heads[1]) if self.layout == "BSH" else (*leading, *heads)

    @property
    def arguments(self):
        """Keyword arguments of reference.selected_attention_infer."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "name"}

    @cached_property
    def forward(self):
        """attention_out in float64, or with it the statistics."""
        return reference.selected_attention_infer(**self.arguments)

    def selections(self):
        """(token, kv head, rows, count) over query_rows, key_rows and value_rows."""
        lengths = self.query_start, self.q_lens, self.actual_seq_kvlen
        return reference.paged_selections(
            self.topk_rows, self.select_block_size, self.atten_mask, *lengths, self.sparse_mode,
            self.block_table, self.page_block_size,
        )  # fmt: skip

    def poisoned(self):
        """The same case with garbage in everything that is out of use: the same answer.

        NaN and Inf in cache rows that no visible selection reads and in query rows beyond q_len; wild indices
        in topk rows beyond q_len and in block_table entries beyond the kv length.
        """
        read = _rows_read(self.selections(), self.key_rows.shape[:2])
        padding = np.ones(len(self.query_rows), bool)
        for start, q_len in zip(self.query_start, self.q_lens):
            padding[start : start + q_len] = False
        topk = np.where(padding[:, None, None], INT32_MAX, self.topk_rows)
        slots = np.arange(self.block_table.shape[1]) * self.page_block_size
        unused = slots >= np.array(self.actual_seq_kvlen)[:, None]
        return replace(
            self,
            query=_poison(self.query_rows, padding).reshape(self.query.shape),
            key=self._cache_of_rows(_poison(self.key_rows, ~read), self.key),
            value=self._cache_of_rows(_poison(self.value_rows, ~read), self.value),
            topk_indices=topk.reshape(self.topk_indices.shape),
            block_table=np.where(unused, INT32_MAX - slots, self.block_table).astype(np.int32),
            name=f"{self.name} poisoned",
        )

    def __str__(self):
        return _describe(self)


def _rows_read(selections, shape):
    read = np.zeros(shape, bool)
    for _, head, rows, _ in selections:
        read[rows, head] = True
    return read


def _poison(array, where):
    """A copy with NaN, +Inf and -Inf in turn at ``where``."""
    poisoned = array.copy()
    hits = np.count_nonzero(where)
    wild = np.array([np.nan, np.inf, -np.inf]).astype(array.dtype)
    poisoned[where] = np.resize(wild, hits).reshape(hits, *[1] * (array.ndim - where.ndim))
    return poisoned


def _describe(case):
    """One line that tells the case apart: shapes of arrays, values of everything else."""
    parts = []
    for field in fields(case):
        entry = getattr(case, field.name)
        if isinstance(entry, np.ndarray):
            entry = f"{entry.dtype}{list(entry.shape)}"
        if field.name != "name":
            parts.append(f"{field.name}={entry}")
    return f"{case.name}: {', '.join(parts)}"
