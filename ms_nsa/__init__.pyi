# SPDX-License-Identifier: Apache-2.0
"""Types of the public names. They are not in the sources because Graph mode parses those of `construct`."""

from typing import Any, Union

import numpy as np
from mindspore import Tensor, nn

__version__: str
__all__: list[str]

_Lengths = Union[tuple[int, ...], list[int], np.ndarray, Tensor]  # noqa: UP007 - a test runs it on Python 3.9

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
) -> Tensor: ...
def set_num_threads(num_threads: int) -> None: ...
