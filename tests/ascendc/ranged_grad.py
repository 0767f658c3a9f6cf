# SPDX-License-Identifier: Apache-2.0
"""The gradients of the window and of compressed attention on the twin, from the keyword arguments of the reference's
functions with arrays in the storage type."""

import numpy as np

from ascendc import device
from ms_nsa import family_reference
from support import compare_tensor
from support.family_terms import grad_terms, window_terms

CHOICE = "select_block_size", "select_block_count", "init_blocks", "local_blocks", "topk_mask"


def is_window(arguments):
    return "window_size" in arguments


def without_choice(arguments):
    return {name: value for name, value in arguments.items() if name not in CHOICE}


def forward(arguments):
    """attention_out, softmax_max and softmax_sum of the reference, as the kernels leave them."""
    if is_window(arguments):
        out, *statistics = family_reference.nsa_window_attention(**arguments)
    else:
        out, _, *statistics = family_reference.nsa_compress_attention(**arguments)
    return out.astype(arguments["query"].dtype), *(array.astype(np.float32) for array in statistics)


def run_grad(arguments, grad, saved=None, of_statistics=(None, None), **options):
    """dq, dk, dv, and the launch's result."""
    saved = saved or forward(arguments)
    tensors = {"grad": grad, **dict(zip(("attention_out", "softmax_max", "softmax_sum"), saved))}
    tensors.update(zip(("softmax_max_grad", "softmax_sum_grad"), of_statistics))
    for name in ("query", "key", "value", "atten_mask"):
        tensors[name] = arguments.get(name)
    for name in ("actual_seq_qlen", "actual_seq_kvlen"):
        tensors[name] = None if arguments.get(name) is None else np.array(arguments[name], np.int64)
    tensors = {name: None if array is None else np.ascontiguousarray(array) for name, array in tensors.items()}
    scale = arguments.get("scale_value")
    attributes = {"head_num": arguments["head_num"], "default_scale": int(scale is None), "scale_value": scale or 0.0}
    names = ["window_size"] if is_window(arguments) else ["compress_block_size", "compress_stride", "sparse_mode"]
    attributes.update({name: arguments[name] for name in names})
    operator = "NsaWindowAttentionGrad" if is_window(arguments) else "NsaCompressAttentionGrad"
    outputs, launched = device.run(operator, tensors, attributes, **options)
    return *outputs.values(), launched


def check(arguments, of_statistics=(None, None), seed=0, **options):
    """Against the reference; the launch's result."""
    query = arguments["query"]
    shape = (*query.shape[:2], arguments["value"].shape[2])
    grad = np.random.default_rng([5, seed]).standard_normal(shape).astype(query.dtype)
    *found, launched = run_grad(arguments, grad, of_statistics=of_statistics, seed=seed, **options)
    if is_window(arguments):
        reference, terms = family_reference.nsa_window_attention_grad, window_terms
    else:
        reference, terms = family_reference.nsa_compress_attention_grad, grad_terms
    statistics = dict(zip(("softmax_max_grad", "softmax_sum_grad"), of_statistics))
    expected = reference(grad, **without_choice(arguments), **statistics)
    if any(each is not None for each in of_statistics):
        zeros = np.zeros((*query.shape[:2], 8), np.float32)
        of_statistics = [zeros if each is None else each for each in of_statistics]
    scales = terms(arguments, grad, of_statistics)
    for name, gradient, right in zip(("dq", "dk", "dv"), found, expected):
        compared = compare_tensor(gradient, right, "grad", query.dtype, scales[name])
        assert not compared.failure, f"{name} {compared.failure}"
    return launched
