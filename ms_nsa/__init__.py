# SPDX-License-Identifier: Apache-2.0
"""Selected attention (native sparse attention) for MindSpore, on CPU and on Ascend."""

import warnings

from ms_nsa import vendor
from ms_nsa.paged_attention import NsaSelectedAttentionInfer, nsa_select_attention_infer
from ms_nsa.selected_attention import NsaSelectAttention, NsaSelectAttentionGrad, nsa_select_attention
from ms_nsa.threads import set_num_threads, tell_children

__version__ = "0.2.0"

tell_children()
if vendor.wanted() and vendor.activate():
    warnings.warn(vendor.problem(), RuntimeWarning, stacklevel=2)

__all__ = [
    "NsaSelectAttention",
    "NsaSelectAttentionGrad",
    "NsaSelectedAttentionInfer",
    "nsa_select_attention",
    "nsa_select_attention_infer",
    "set_num_threads",
]
