# SPDX-License-Identifier: Apache-2.0
"""Native sparse attention for MindSpore, on CPU and on Ascend."""

import warnings

from ms_nsa.cache import NsaCache
from ms_nsa.compressed_attention import NsaCompressAttention, NsaCompressAttentionGrad, nsa_compress_attention
from ms_nsa.compression import NsaCompress, NsaCompressGrad, compressed_seq_lens, nsa_compress
from ms_nsa.layer import NativeSparseAttention
from ms_nsa.layer_infer import NativeSparseAttentionInfer
from ms_nsa.nsa_attention import NsaAttention
from ms_nsa.paged_attention import NsaSelectedAttentionInfer, nsa_select_attention_infer
from ms_nsa.paged_compressed_attention import NsaCompressAttentionInfer, nsa_compress_attention_infer
from ms_nsa.paged_compression import NsaCompressInfer, nsa_compress_infer
from ms_nsa.paged_window_attention import NsaWindowAttentionInfer, nsa_window_attention_infer
from ms_nsa.primitive import vendor
from ms_nsa.selected_attention import NsaSelectAttention, NsaSelectAttentionGrad, nsa_select_attention
from ms_nsa.threads import set_num_threads, tell_children
from ms_nsa.window_attention import NsaWindowAttention, NsaWindowAttentionGrad, nsa_window_attention

__version__ = "0.2.0"

tell_children()
if vendor.wanted() and vendor.activate():
    warnings.warn(vendor.problem(), RuntimeWarning, stacklevel=2)

__all__ = [
    "NativeSparseAttention",
    "NativeSparseAttentionInfer",
    "NsaAttention",
    "NsaCache",
    "NsaCompress",
    "NsaCompressAttention",
    "NsaCompressAttentionGrad",
    "NsaCompressAttentionInfer",
    "NsaCompressGrad",
    "NsaCompressInfer",
    "NsaSelectAttention",
    "NsaSelectAttentionGrad",
    "NsaSelectedAttentionInfer",
    "NsaWindowAttention",
    "NsaWindowAttentionGrad",
    "NsaWindowAttentionInfer",
    "compressed_seq_lens",
    "nsa_compress",
    "nsa_compress_attention",
    "nsa_compress_attention_infer",
    "nsa_compress_infer",
    "nsa_select_attention",
    "nsa_select_attention_infer",
    "nsa_window_attention",
    "nsa_window_attention_infer",
    "set_num_threads",
]
