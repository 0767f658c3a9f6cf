"""Selected attention for decoding over a paged KV cache: the Cell and the functional form."""

import functools

from mindspore import nn

from ms_nsa import checks, primitives

_INFER = "NsaSelectedAttentionInfer"


class NsaSelectedAttentionInfer(nn.Cell):
    r"""
    Attention of decoded tokens to selected blocks of a paged KV cache.
    """

    def __init__(
        self,
        head_num,
        key_value_head_num,
        select_block_size,
        select_block_count,
        page_block_size,
        scale_value=None,
        layout="BSND",
        sparse_mode=0,
        limits="auto",
    ):
        super().__init__()
        attributes, device = checks.infer_attributes(
            _INFER,
            key_value_head_num,
            page_block_size,
            layout,
            head_num=head_num,
            scale_value=scale_value,
            select_block_size=select_block_size,
            select_block_count=select_block_count,
            sparse_mode=sparse_mode,
            limits=limits,
        )
        self._known, self._dynamic = primitives.make(_INFER, attributes, device)
        self._no_mask = primitives.no_mask()
        self._no_lengths = primitives.no_lengths()

    def construct(
        self,
        query,
        key,
        value,
        topk_indices,
        block_table,
        actual_seq_qlen=None,
        actual_seq_kvlen=None,
        atten_mask=None,
    ):
        mask = self._no_mask if atten_mask is None else atten_mask
        qlen = primitives.as_lengths(_INFER, "actual_seq_qlen", actual_seq_qlen, self._no_lengths)
        kvlen = primitives.as_lengths(_INFER, "actual_seq_kvlen", actual_seq_kvlen, self._no_lengths)
        operator = self._known
        if primitives.shapes_unknown(query.shape, key.shape, topk_indices.shape, mask.shape, qlen.shape, kvlen.shape):
            operator = self._dynamic
        return operator(query, key, value, topk_indices, mask, block_table, qlen, kvlen)


@functools.lru_cache(maxsize=256)
def _cell(head_num, key_value_head_num, select_block_size, select_block_count, page_block_size, scale_value, layout):
    return NsaSelectedAttentionInfer(
        head_num, key_value_head_num, select_block_size, select_block_count, page_block_size, scale_value, layout
    )


def nsa_select_attention_infer(
    query,
    key,
    value,
    topk_indices,
    scale_value,
    head_num,
    key_value_head_num,
    select_block_size,
    select_block_count,
    page_block_size,
    layout="BSND",
    atten_mask=None,
    block_table=None,
    actual_seq_qlen=None,
    actual_seq_kvlen=None,
):
    r"""
    Functional form of :class:`ms_nsa.NsaSelectedAttentionInfer`.
    """
    cell = _cell(
        head_num, key_value_head_num, select_block_size, select_block_count, page_block_size, scale_value, layout
    )
    return cell(query, key, value, topk_indices, block_table, actual_seq_qlen, actual_seq_kvlen, atten_mask)
