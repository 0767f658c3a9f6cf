# SPDX-License-Identifier: Apache-2.0
"""Runs the window and compressed attention on the host twin, from the keyword arguments of the reference's
functions with arrays in the storage type."""

import ctypes

import numpy as np

from ascendc import device, host
from twin import twin

WINDOW, COMPRESSED = 1, 2


class DenseShapes(ctypes.Structure):
    """ms_nsa::DenseShapes."""

    _fields_ = [
        ("attention", host.AttentionShapes),
        *((name, host.INTS) for name in ("t1", "t2", "batch")),
        ("has_q_lens", ctypes.c_bool),
        ("has_kv_lens", ctypes.c_bool),
        ("key_rule", ctypes.c_int32),
        *((name, host.INTS) for name in ("window_size", "compress_block_size", "compress_stride")),
        *((name, host.INTS) for name in ("init_blocks", "local_blocks", "topk_mask_rows", "topk_mask_cols")),
        ("need_output", ctypes.c_bool),
    ]


class DenseParams(ctypes.Structure):
    """ms_nsa::DenseParams, the tiling data."""

    _fields_ = [
        ("attention", host.AttentionParams),
        *((name, host.INTS) for name in ("topk_mask_rows", "topk_mask_cols", "window_size", "raw_rows")),
        *((name, host.INTS) for name in ("init_blocks", "local_blocks", "most_blocks", "most_steps", "tiles")),
        *((name, ctypes.c_int32) for name in ("key_rule", "compress_block_size", "compress_stride", "tile_tokens")),
        *((name, ctypes.c_int32) for name in ("need_output", "step_blocks", "part_blocks", "kv_lens_given")),
    ]


class Plan(ctypes.Structure):
    _fields_ = [("params", DenseParams), ("block_dim", host.INTS), ("workspace_bytes", host.INTS)]


def tile(shapes, aic_cores):
    plan = Plan()
    host.library().HostTileDense(ctypes.byref(shapes), aic_cores, ctypes.byref(plan))
    return plan


def shapes_of(arguments, need_output=True):
    query, key, value = (arguments[name] for name in ("query", "key", "value"))
    scale, atten_mask, topk_mask = (arguments.get(name) for name in ("scale_value", "atten_mask", "topk_mask"))
    rows, cols = (0, 0) if atten_mask is None else atten_mask.shape
    topk_rows, topk_cols = (0, 0) if topk_mask is None else topk_mask.shape
    q_ends, kv_ends = arguments.get("actual_seq_qlen"), arguments.get("actual_seq_kvlen")
    attention = host.AttentionShapes(
        head_num=query.shape[1], key_value_head_num=key.shape[1], d1=query.shape[2], d2=value.shape[2],
        select_block_size=arguments.get("select_block_size", 0), atten_mask_rows=rows, atten_mask_cols=cols,
        select_block_count=arguments.get("select_block_count", 0), sparse_mode=arguments.get("sparse_mode", 3),
        default_scale=scale is None, scale_value=scale or 0.0,
    )  # fmt: skip
    names = "window_size", "compress_block_size", "compress_stride", "init_blocks", "local_blocks"
    return DenseShapes(
        attention=attention, t1=len(query), t2=len(key), batch=1 if q_ends is None else len(q_ends),
        has_q_lens=q_ends is not None, has_kv_lens=kv_ends is not None,
        key_rule=WINDOW if "window_size" in arguments else COMPRESSED, need_output=need_output,
        topk_mask_rows=topk_rows, topk_mask_cols=topk_cols, **{name: arguments.get(name, 0) for name in names},
    )  # fmt: skip


def _outputs(arguments):
    query, value = arguments["query"], arguments["value"]
    statistics = (*query.shape[:2], 8)
    return [
        twin.output((*query.shape[:2], value.shape[2]), np.uint16, "attention_out"),
        twin.output(statistics, np.float32, "softmax_max"),
        twin.output(statistics, np.float32, "softmax_sum"),
    ]


def _launch(entry, arguments, inputs, outputs, aic_cores, options, need_output=True):
    plan = tile(shapes_of(arguments, need_output), aic_cores)
    tensors = [np.ascontiguousarray(arguments[name]).view(np.uint16) for name in ("query", "key", "value")]
    lengths = [arguments.get(name) for name in ("actual_seq_qlen", "actual_seq_kvlen")]
    inputs = [*tensors, *inputs, *(None if ends is None else np.array(ends, np.int64) for ends in lengths)]
    dtype = arguments["query"].dtype.name
    return device.launch(entry, dtype, inputs, outputs, plan, aic_cores=aic_cores, **options)


def run_window(arguments, aic_cores=3, **options):
    """attention_out, softmax_max, softmax_sum, and the launch's result."""
    launched = _launch("ms_nsa_window_attention", arguments, [], _outputs(arguments), aic_cores, options)
    attention_out, *statistics = launched.outputs
    return attention_out.view(arguments["query"].dtype), *statistics, launched


def run_compress_attention(arguments, aic_cores=3, need_output=True, **options):
    """attention_out (None without need_output), topk_indices, softmax_max, softmax_sum, and the launch's result."""
    out, *statistics = _outputs(arguments)
    shape = len(arguments["query"]), arguments["key"].shape[1], arguments["select_block_count"]
    outputs = [out if need_output else None, twin.output(shape, np.int32, "topk_indices"), *statistics]
    masks = [arguments.get(name) for name in ("topk_mask", "atten_mask")]
    masks = [None if mask is None else np.ascontiguousarray(mask, np.uint8) for mask in masks]
    launched = _launch("ms_nsa_compress_attention", arguments, masks, outputs, aic_cores, options, need_output)
    found = launched.outputs if not need_output else launched.outputs[1:]
    out = launched.outputs[0].view(arguments["query"].dtype) if need_output else None
    return out, *found, launched
