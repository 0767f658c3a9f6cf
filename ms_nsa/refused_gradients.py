# SPDX-License-Identifier: Apache-2.0
"""Gradient functions for primitives without a gradient. They raise an error; Graph mode fixes their parameters."""

from mindspore import ops


@ops.constexpr
def _refuse(operator, sentence):
    raise RuntimeError(f"{operator}: {sentence}")


def second_order(operator):
    """For the gradient operator of selected attention."""

    def bprop(
        grad,
        query,
        key,
        value,
        attention_out,
        softmax_max,
        softmax_sum,
        topk_indices,
        atten_mask,
        actual_seq_qlen,
        actual_seq_kvlen,
        softmax_max_grad,
        softmax_sum_grad,
        out,
        dout,
    ):
        return _refuse(operator, "gradients of the gradient are not defined")

    return bprop


def of_decoding(operator):
    """For the decoding operator of selected attention."""

    def bprop(query, key, value, topk_indices, atten_mask, block_table, actual_seq_qlen, actual_seq_kvlen, out, dout):
        return _refuse(operator, "gradients are not defined, those of NsaSelectAttention are")

    return bprop


def of_window_gradient(operator):
    """For the gradient operator of sliding-window attention."""

    def bprop(
        grad,
        query,
        key,
        value,
        attention_out,
        softmax_max,
        softmax_sum,
        actual_seq_qlen,
        actual_seq_kvlen,
        softmax_max_grad,
        softmax_sum_grad,
        out,
        dout,
    ):
        return _refuse(operator, "gradients of the gradient are not defined")

    return bprop


def of_compressed_gradient(operator):
    """For the gradient operator of compressed attention."""

    def bprop(
        grad,
        query,
        key,
        value,
        attention_out,
        softmax_max,
        softmax_sum,
        atten_mask,
        actual_seq_qlen,
        actual_seq_kvlen,
        softmax_max_grad,
        softmax_sum_grad,
        out,
        dout,
    ):
        return _refuse(operator, "gradients of the gradient are not defined")

    return bprop


def of_compression_gradient(operator):
    """For the gradient operator of compression."""

    def bprop(grad, input, weight, actual_seq_len, out, dout):
        return _refuse(operator, "gradients of the gradient are not defined")

    return bprop


def of_choice_alone(operator):
    """For compressed attention without `attention_out`."""

    def bprop(query, key, value, topk_mask, atten_mask, actual_seq_qlen, actual_seq_kvlen, out, dout):
        return _refuse(operator, "need_output must be True for gradients, got False")

    return bprop


def of_paged(operator):
    """For the other decoding operators, which have six inputs."""

    def bprop(first, second, third, fourth, fifth, sixth, out, dout):
        return _refuse(operator, "gradients are not defined, those of the training operator are")

    return bprop


def of_projection_gradient(operator):
    """That of the gradient of a projection."""

    def bprop(grad, input, weight, out, dout):
        return _refuse(operator, "gradients of the gradient are not defined")

    return bprop


def of_gated_sum_gradient(operator):
    """That of the gradient of the gated sum."""

    def bprop(grad, compressed, selected, window, gates, out, dout):
        return _refuse(operator, "gradients of the gradient are not defined")

    return bprop


def of_sum(operator):
    """That of the sum of gradients."""

    def bprop(first, second, third, fourth, fifth, sixth, seventh, eighth, out, dout):
        return _refuse(operator, "gradients of the gradient are not defined")

    return bprop


def of_cast_gradient(operator):
    """That of the gradient of a cast."""

    def bprop(input, out, dout):
        return _refuse(operator, "gradients of the gradient are not defined")

    return bprop


def of_rotation_gradient(operator):
    """That of the gradient of a rotation."""

    def bprop(input, cosine, sine, out, dout):
        return _refuse(operator, "gradients of the gradient are not defined")

    return bprop


def of_page_slots(operator):
    """That of the operator that says where rows go."""

    def bprop(first, second, third, fourth, fifth, out, dout):
        return _refuse(operator, "gradients are not defined")

    return bprop


def of_page_writer(operator):
    """That of the page writer."""

    def bprop(first, second, third, fourth, fifth, sixth, out, dout):
        return _refuse(operator, "gradients are not defined")

    return bprop
