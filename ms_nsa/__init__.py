"""Selected attention (native sparse attention) for MindSpore, on CPU and on Ascend."""

import warnings

from ms_nsa.paged_attention import NsaSelectedAttentionInfer, nsa_select_attention_infer
from ms_nsa.primitive import vendor
from ms_nsa.selected_attention import NsaSelectAttention, NsaSelectAttentionGrad, nsa_select_attention

__version__ = "0.1.0"

if vendor.wanted() and vendor.activate():
    warnings.warn(vendor.problem(), RuntimeWarning, stacklevel=2)

__all__ = [
    "NsaSelectAttention",
    "NsaSelectAttentionGrad",
    "NsaSelectedAttentionInfer",
    "nsa_select_attention",
    "nsa_select_attention_infer",
]
