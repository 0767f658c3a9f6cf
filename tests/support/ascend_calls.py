# SPDX-License-Identifier: Apache-2.0
"""Attributes and inputs of calls within the limits that CANN documents, with one size or dtype to change."""

import numpy as np
from mindspore import Tensor


def ascend_select(operator, n1=2, n2=2, d1=192, d2=128, size=64, count=16, batch=1, dtype=np.float16):
    t1, t2 = 3, 70
    ends = lambda last: Tensor(np.linspace(0, last, batch + 1)[1:].astype(np.int64))  # noqa: E731
    inputs = {
        "query": np.zeros((t1, n1, d1), dtype),
        "key": np.zeros((t2, n2, d1), dtype),
        "value": np.zeros((t2, n2, d2), dtype),
        "topk_indices": np.full((t1, n2, count), -1, np.int32),
        "actual_seq_qlen": ends(t1),
        "actual_seq_kvlen": ends(t2),
    }
    if operator == "NsaSelectAttentionGrad":
        inputs["grad"] = inputs["attention_out"] = np.zeros((t1, n1, d2), dtype)
        inputs["softmax_max"] = inputs["softmax_sum"] = np.zeros((t1, n1, 8), np.float32)
    attributes = {"head_num": n1, "select_block_size": size, "select_block_count": count, "limits": "ascend"}
    return attributes, inputs


def ascend_infer(
    layout="BSND", n1=2, n2=2, d1=192, d2=128, page=64, size=32, count=2, batch=2, s=1, q_lens=None, kv_lens=None,
    dtype=np.float16, mask=None,
):  # fmt: skip
    q_lens, kv_lens = q_lens or [s] * batch, kv_lens or [64] * batch
    tokens = (sum(q_lens),) if layout == "TND" else (batch, s)
    cache = lambda d: (n2, d) if layout == "BSND" else (n2 * d,)  # noqa: E731
    inputs = {
        "query": np.zeros((*tokens, *((n1 * d1,) if layout == "BSH" else (n1, d1))), dtype),
        "key": np.zeros((1, page, *cache(d1)), dtype),
        "value": np.zeros((1, page, *cache(d2)), dtype),
        "topk_indices": np.full((*tokens, n2, count), -1, np.int32),
        "block_table": np.zeros((batch, 4), np.int32),
        "atten_mask": mask,
        "actual_seq_qlen": Tensor(q_lens),
        "actual_seq_kvlen": Tensor(kv_lens),
    }
    attributes = {"head_num": n1, "key_value_head_num": n2, "select_block_size": size, "select_block_count": count}
    return {**attributes, "page_block_size": page, "layout": layout, "limits": "ascend"}, inputs
