# SPDX-License-Identifier: Apache-2.0
"""Types of the public names. They are not in the sources because Graph mode parses those of `construct`."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Union

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

__version__: str
__all__: list[str]

_Lengths = Union[tuple[int, ...], list[int], np.ndarray, Tensor]  # noqa: UP007 - a test runs it on Python 3.9

class NsaAttention(nn.Cell):
    def __init__(
        self,
        head_num: int,
        key_value_head_num: int,
        compress_block_size: int = 32,
        compress_stride: int = 16,
        select_block_size: int = 64,
        select_block_count: int = 16,
        init_blocks: int = 1,
        local_blocks: int = 2,
        window_size: int = 512,
        scale_value: float | None = None,
        limits: str = "auto",
    ) -> None: ...
    def __call__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        gates: Tensor,
        compressed_key: Tensor,
        compressed_value: Tensor,
        actual_seq_len: _Lengths | None = None,
        compressed_query: Tensor | None = None,
        window_key: Tensor | None = None,
        window_value: Tensor | None = None,
    ) -> Tensor: ...

class NativeSparseAttention(nn.Cell):
    def __init__(
        self,
        hidden_size: int,
        head_num: int,
        key_value_head_num: int,
        key_head_dim: int,
        value_head_dim: int | None = None,
        compress_block_size: int = 32,
        compress_stride: int = 16,
        select_block_size: int = 64,
        select_block_count: int = 16,
        init_blocks: int = 1,
        local_blocks: int = 2,
        window_size: int = 512,
        compress: str | nn.Cell = "weighted",
        compress_rope: str | Callable[[Tensor, Tensor], Tensor] = "after",
        rope_theta: float | Callable[[Tensor, Tensor], Tensor] | None = 10000.0,
        independent_kv: bool = False,
        gate_bias: bool = True,
        gate_bias_init: float | Sequence[Any] | None = None,
        has_bias: bool = False,
        scale_value: float | None = None,
        param_dtype: Any = ms.float32,
        compute_dtype: Any = ms.float32,
        limits: str = "auto",
    ) -> None: ...
    def __call__(self, x: Tensor, actual_seq_len: _Lengths | None = None) -> Tensor: ...

class NsaCache(nn.Cell):
    free_pages: int
    free_compressed_pages: int
    def __init__(
        self,
        num_pages: int,
        num_compressed_pages: int,
        page_block_size: int,
        key_value_head_num: int,
        key_head_dim: int,
        value_head_dim: int,
        dtype: Any,
        cache_layout: str = "BNSD",
        independent_kv: bool = False,
    ) -> None: ...
    def extend(self, sequence: Hashable, length: int) -> None: ...
    def release(self, sequence: Hashable) -> None: ...
    def block_tables(
        self,
        sequences: Sequence[Hashable],
        max_blocks: int | None = None,
        max_compressed_blocks: int | None = None,
    ) -> tuple[Tensor, Tensor]: ...

class NativeSparseAttentionInfer(nn.Cell):
    def __init__(
        self,
        hidden_size: int,
        head_num: int,
        key_value_head_num: int,
        key_head_dim: int,
        value_head_dim: int | None = None,
        compress_block_size: int = 32,
        compress_stride: int = 16,
        select_block_size: int = 64,
        select_block_count: int = 16,
        init_blocks: int = 1,
        local_blocks: int = 2,
        window_size: int = 512,
        compress: str | nn.Cell = "weighted",
        compress_rope: str | Callable[[Tensor, Tensor], Tensor] = "after",
        rope_theta: float | Callable[[Tensor, Tensor], Tensor] | None = 10000.0,
        independent_kv: bool = False,
        gate_bias: bool = True,
        gate_bias_init: float | Sequence[Any] | None = None,
        has_bias: bool = False,
        scale_value: float | None = None,
        param_dtype: Any = ms.float32,
        compute_dtype: Any = ms.float32,
        limits: str = "auto",
        cache: NsaCache | None = None,
    ) -> None: ...
    def __call__(
        self,
        x: Tensor,
        block_table: Tensor,
        compressed_block_table: Tensor,
        actual_seq_qlen: _Lengths,
        actual_seq_kvlen: _Lengths,
    ) -> Tensor: ...

class NsaSelectAttention(nn.Cell):
    def __init__(
        self,
        head_num: int,
        scale_value: float | None = None,
        select_block_size: int = 64,
        select_block_count: int = 16,
        sparse_mode: int = 0,
        limits: str = "auto",
    ) -> None: ...
    def __call__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        topk_indices: Tensor,
        atten_mask: Tensor | None = None,
        actual_seq_qlen: _Lengths | None = None,
        actual_seq_kvlen: _Lengths | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]: ...

class NsaSelectAttentionGrad(nn.Cell):
    def __init__(
        self,
        head_num: int,
        scale_value: float | None = None,
        select_block_size: int = 64,
        select_block_count: int = 16,
        sparse_mode: int = 0,
        limits: str = "auto",
    ) -> None: ...
    def __call__(
        self,
        grad: Tensor,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_out: Tensor,
        softmax_max: Tensor,
        softmax_sum: Tensor,
        topk_indices: Tensor,
        atten_mask: Tensor | None = None,
        actual_seq_qlen: _Lengths | None = None,
        actual_seq_kvlen: _Lengths | None = None,
        softmax_max_grad: Tensor | None = None,
        softmax_sum_grad: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]: ...

class NsaSelectedAttentionInfer(nn.Cell):
    def __init__(
        self,
        head_num: int,
        key_value_head_num: int,
        select_block_size: int,
        select_block_count: int,
        page_block_size: int,
        scale_value: float | None = None,
        layout: str = "BSND",
        sparse_mode: int = 0,
        limits: str = "auto",
        return_softmax_lse: bool = False,
        cache_layout: str = "BSND",
    ) -> None: ...
    # A Tensor, or three with return_softmax_lse.
    def __call__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        topk_indices: Tensor,
        block_table: Tensor,
        actual_seq_qlen: _Lengths | None = None,
        actual_seq_kvlen: _Lengths | None = None,
        atten_mask: Tensor | None = None,
    ) -> Any: ...

def nsa_select_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    topk_indices: Tensor,
    scale_value: float | None,
    head_num: int,
    select_block_size: int,
    select_block_count: int,
    atten_mask: Tensor | None = None,
    actual_seq_qlen: _Lengths | None = None,
    actual_seq_kvlen: _Lengths | None = None,
) -> tuple[Tensor, Tensor, Tensor]: ...
def nsa_select_attention_infer(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    topk_indices: Tensor,
    scale_value: float | None,
    head_num: int,
    key_value_head_num: int,
    select_block_size: int,
    select_block_count: int,
    page_block_size: int,
    layout: str = "BSND",
    atten_mask: Tensor | None = None,
    block_table: Tensor | None = None,
    actual_seq_qlen: _Lengths | None = None,
    actual_seq_kvlen: _Lengths | None = None,
    cache_layout: str = "BSND",
) -> Tensor: ...
def set_num_threads(num_threads: int) -> None: ...

class NsaCompress(nn.Cell):
    def __init__(
        self,
        compress_block_size: int = 32,
        compress_stride: int = 16,
        limits: str = "auto",
    ) -> None: ...
    def __call__(
        self,
        input: Tensor,
        weight: Tensor | None = None,
        actual_seq_len: _Lengths | None = None,
    ) -> Tensor: ...

class NsaCompressGrad(nn.Cell):
    def __init__(
        self,
        compress_block_size: int = 32,
        compress_stride: int = 16,
        limits: str = "auto",
    ) -> None: ...
    def __call__(
        self,
        grad: Tensor,
        input: Tensor,
        weight: Tensor | None = None,
        actual_seq_len: _Lengths | None = None,
    ) -> tuple[Tensor, Tensor]: ...

class NsaCompressInfer(nn.Cell):
    def __init__(
        self,
        compress_block_size: int,
        compress_stride: int,
        page_block_size: int,
        limits: str = "auto",
        cache_layout: str = "BSND",
    ) -> None: ...
    def __call__(
        self,
        input: Tensor,
        weight: Tensor | None,
        slot_mapping: Tensor,
        block_table: Tensor,
        actual_seq_len: _Lengths,
        actual_seq_qlen: _Lengths | None = None,
    ) -> tuple[Tensor, Tensor]: ...

class NsaCompressAttention(nn.Cell):
    def __init__(
        self,
        head_num: int,
        scale_value: float | None = None,
        compress_block_size: int = 32,
        compress_stride: int = 16,
        select_block_size: int = 64,
        select_block_count: int = 16,
        sparse_mode: int = 3,
        init_blocks: int = 1,
        local_blocks: int = 2,
        need_output: bool = True,
        limits: str = "auto",
    ) -> None: ...
    def __call__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        topk_mask: Tensor | None = None,
        atten_mask: Tensor | None = None,
        actual_seq_qlen: _Lengths | None = None,
        actual_seq_kvlen: _Lengths | None = None,
    ) -> tuple[Tensor | None, Tensor, Tensor, Tensor]: ...

class NsaCompressAttentionGrad(nn.Cell):
    def __init__(
        self,
        head_num: int,
        scale_value: float | None = None,
        compress_block_size: int = 32,
        compress_stride: int = 16,
        sparse_mode: int = 3,
        limits: str = "auto",
    ) -> None: ...
    def __call__(
        self,
        grad: Tensor,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_out: Tensor,
        softmax_max: Tensor,
        softmax_sum: Tensor,
        atten_mask: Tensor | None = None,
        actual_seq_qlen: _Lengths | None = None,
        actual_seq_kvlen: _Lengths | None = None,
        softmax_max_grad: Tensor | None = None,
        softmax_sum_grad: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]: ...

class NsaCompressAttentionInfer(nn.Cell):
    def __init__(
        self,
        head_num: int,
        key_value_head_num: int,
        select_block_size: int,
        select_block_count: int,
        page_block_size: int,
        compress_block_size: int,
        compress_stride: int,
        scale_value: float | None = None,
        layout: str = "BSND",
        init_blocks: int = 1,
        local_blocks: int = 2,
        return_softmax_lse: bool = False,
        limits: str = "auto",
        cache_layout: str = "BSND",
    ) -> None: ...
    def __call__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        block_table: Tensor,
        actual_seq_qlen: _Lengths | None = None,
        actual_seq_kvlen: _Lengths | None = None,
    ) -> tuple[Tensor, ...]: ...

class NsaWindowAttention(nn.Cell):
    def __init__(
        self,
        head_num: int,
        window_size: int,
        scale_value: float | None = None,
        limits: str = "auto",
    ) -> None: ...
    def __call__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        actual_seq_qlen: _Lengths | None = None,
        actual_seq_kvlen: _Lengths | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]: ...

class NsaWindowAttentionGrad(nn.Cell):
    def __init__(
        self,
        head_num: int,
        window_size: int,
        scale_value: float | None = None,
        limits: str = "auto",
    ) -> None: ...
    def __call__(
        self,
        grad: Tensor,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_out: Tensor,
        softmax_max: Tensor,
        softmax_sum: Tensor,
        actual_seq_qlen: _Lengths | None = None,
        actual_seq_kvlen: _Lengths | None = None,
        softmax_max_grad: Tensor | None = None,
        softmax_sum_grad: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]: ...

class NsaWindowAttentionInfer(nn.Cell):
    def __init__(
        self,
        head_num: int,
        key_value_head_num: int,
        window_size: int,
        page_block_size: int,
        scale_value: float | None = None,
        layout: str = "BSND",
        return_softmax_lse: bool = False,
        limits: str = "auto",
        cache_layout: str = "BSND",
    ) -> None: ...
    def __call__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        block_table: Tensor,
        actual_seq_qlen: _Lengths | None = None,
        actual_seq_kvlen: _Lengths | None = None,
    ) -> Tensor | tuple[Tensor, Tensor, Tensor]: ...

def nsa_compress(
    input: Tensor,
    weight: Tensor | None,
    compress_block_size: int,
    compress_stride: int,
    actual_seq_len: _Lengths | None = None,
) -> Tensor: ...
def nsa_compress_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scale_value: float | None,
    head_num: int,
    compress_block_size: int,
    compress_stride: int,
    select_block_size: int,
    select_block_count: int,
    topk_mask: Tensor | None = None,
    atten_mask: Tensor | None = None,
    actual_seq_qlen: _Lengths | None = None,
    actual_cmp_seq_kvlen: _Lengths | None = None,
    actual_sel_seq_kvlen: _Lengths | None = None,
    actual_seq_kvlen: _Lengths | None = None,
    sparse_mode: int = 0,
    init_blocks: int = 0,
    local_blocks: int = 0,
) -> tuple[Tensor, Tensor, Tensor, Tensor]: ...
def nsa_compress_attention_infer(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scale_value: float | None,
    head_num: int,
    key_value_head_num: int,
    select_block_size: int,
    select_block_count: int,
    page_block_size: int,
    compress_block_size: int,
    compress_stride: int,
    layout: str = "BSND",
    atten_mask: Tensor | None = None,
    block_table: Tensor | None = None,
    topk_mask: Tensor | None = None,
    actual_seq_qlen: _Lengths | None = None,
    actual_cmp_seq_kvlen: _Lengths | None = None,
    actual_sel_seq_kvlen: _Lengths | None = None,
    init_blocks: int = 1,
    local_blocks: int = 2,
) -> tuple[Tensor, Tensor]: ...
def nsa_compress_infer(
    input: Tensor,
    weight: Tensor | None,
    slot_mapping: Tensor,
    compress_block_size: int,
    compress_stride: int,
    page_block_size: int,
    block_table: Tensor | None = None,
    actual_seq_len: _Lengths | None = None,
    cache: Tensor | None = None,
    actual_seq_qlen: _Lengths | None = None,
) -> tuple[Tensor, Tensor]: ...
def nsa_window_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scale_value: float | None,
    head_num: int,
    window_size: int,
    actual_seq_qlen: _Lengths | None = None,
    actual_seq_kvlen: _Lengths | None = None,
) -> tuple[Tensor, Tensor, Tensor]: ...
def nsa_window_attention_infer(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scale_value: float | None,
    head_num: int,
    key_value_head_num: int,
    window_size: int,
    page_block_size: int,
    layout: str = "BSND",
    block_table: Tensor | None = None,
    actual_seq_qlen: _Lengths | None = None,
    actual_seq_kvlen: _Lengths | None = None,
) -> Tensor: ...
def compressed_seq_lens(
    actual_seq_kvlen: tuple[int, ...] | list[int] | Tensor,
    compress_block_size: int,
    compress_stride: int,
) -> tuple[int, ...] | Tensor: ...
