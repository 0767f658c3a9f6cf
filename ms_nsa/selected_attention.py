"""Selected attention for training: the forward Cell, its bprop Cell and the functional form."""

import functools

from mindspore import nn, ops

from ms_nsa import checks, primitives

_FORWARD = "NsaSelectAttention"
_GRAD = "NsaSelectAttentionGrad"


class NsaSelectAttentionGrad(nn.Cell):
    r"""
    Gradient of :class:`ms_nsa.NsaSelectAttention`.
    """

    def __init__(
        self,
        head_num,
        scale_value=None,
        select_block_size=64,
        select_block_count=16,
        sparse_mode=0,
        limits="auto",
    ):
        super().__init__()
        attributes, device = checks.training_attributes(
            _GRAD, head_num, scale_value, select_block_size, select_block_count, sparse_mode, limits
        )
        self._known, self._dynamic = primitives.make(_GRAD, attributes, device)
        self._no_mask = primitives.no_mask()
        self._no_lengths = primitives.no_lengths()

    def construct(
        self,
        grad,
        query,
        key,
        value,
        attention_out,
        softmax_max,
        softmax_sum,
        topk_indices,
        atten_mask=None,
        actual_seq_qlen=None,
        actual_seq_kvlen=None,
    ):
        mask = self._no_mask if atten_mask is None else atten_mask
        qlen = primitives.as_lengths(_GRAD, "actual_seq_qlen", actual_seq_qlen, self._no_lengths)
        kvlen = primitives.as_lengths(_GRAD, "actual_seq_kvlen", actual_seq_kvlen, self._no_lengths)
        operator = self._known
        if primitives.shapes_unknown(query.shape, key.shape, topk_indices.shape, mask.shape, qlen.shape, kvlen.shape):
            operator = self._dynamic
        return operator(
            grad, query, key, value, attention_out, softmax_max, softmax_sum, topk_indices, mask, qlen, kvlen
        )


class NsaSelectAttention(nn.Cell):
    r"""
    Attention of every query token to the key blocks selected for it, packed variable length (TND).
    """

    def __init__(
        self,
        head_num,
        scale_value=None,
        select_block_size=64,
        select_block_count=16,
        sparse_mode=0,
        limits="auto",
    ):
        super().__init__()
        attributes, device = checks.training_attributes(
            _FORWARD, head_num, scale_value, select_block_size, select_block_count, sparse_mode, limits
        )
        grad_cell = NsaSelectAttentionGrad(
            head_num, scale_value, select_block_size, select_block_count, sparse_mode, limits
        )

        def bprop(query, key, value, topk_indices, atten_mask, actual_seq_qlen, actual_seq_kvlen, out, dout):
            dq, dk, dv = grad_cell(
                dout[0],
                query,
                key,
                value,
                out[0],
                out[1],
                out[2],
                topk_indices,
                atten_mask,
                actual_seq_qlen,
                actual_seq_kvlen,
            )
            return (
                dq,
                dk,
                dv,
                ops.zeros_like(topk_indices),
                ops.zeros_like(atten_mask),
                ops.zeros_like(actual_seq_qlen),
                ops.zeros_like(actual_seq_kvlen),
            )

        self._known, self._dynamic = primitives.make(_FORWARD, attributes, device, bprop)
        self._no_mask = primitives.no_mask()
        self._no_lengths = primitives.no_lengths()

    def construct(
        self, query, key, value, topk_indices, atten_mask=None, actual_seq_qlen=None, actual_seq_kvlen=None
    ):
        mask = self._no_mask if atten_mask is None else atten_mask
        qlen = primitives.as_lengths(_FORWARD, "actual_seq_qlen", actual_seq_qlen, self._no_lengths)
        kvlen = primitives.as_lengths(_FORWARD, "actual_seq_kvlen", actual_seq_kvlen, self._no_lengths)
        operator = self._known
        if primitives.shapes_unknown(query.shape, key.shape, topk_indices.shape, mask.shape, qlen.shape, kvlen.shape):
            operator = self._dynamic
        return operator(query, key, value, topk_indices, mask, qlen, kvlen)


@functools.lru_cache(maxsize=256)
def _cell(head_num, scale_value, select_block_size, select_block_count):
    return NsaSelectAttention(head_num, scale_value, select_block_size, select_block_count)


def nsa_select_attention(
    query,
    key,
    value,
    topk_indices,
    scale_value,
    head_num,
    select_block_size,
    select_block_count,
    atten_mask=None,
    actual_seq_qlen=None,
    actual_seq_kvlen=None,
):
    r"""
    Functional form of :class:`ms_nsa.NsaSelectAttention`.
    """
    cell = _cell(head_num, scale_value, select_block_size, select_block_count)
    return cell(query, key, value, topk_indices, atten_mask, actual_seq_qlen, actual_seq_kvlen)
