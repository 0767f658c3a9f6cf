# SPDX-License-Identifier: Apache-2.0
"""The family's Cells and functional forms in both modes: results and gradients against the oracle, training against
decoding, dynamic shapes, and what they refuse."""

import copy
import pickle

import mindspore as ms
import ml_dtypes
import numpy as np
import pytest
from mindspore import Tensor, nn, ops
from test_family_kernels import check_statistics, close, compressed_arguments, rounded

import ms_nsa
from ms_nsa import family_reference, paged_family_reference, reference
from support.compare_topk import check_topk_indices
from support.family_cases import random_window_arguments
from support.family_terms import grad_terms, out_terms, window_terms
from support.marks import slow
from support.run_cells import run_mode, same_bits, to_array, to_arrays, to_tensor

MODES = ["pynative", "graph"]


def split(arguments, *names):
    """The named arguments, as Tensors where they are arrays, and the others."""
    return [to_tensor(arguments[name]) for name in names], {k: v for k, v in arguments.items() if k not in names}


def bytes_of_mask(arguments):
    """atten_mask and topk_mask as Cells take them."""
    return {k: v.astype(np.uint8) if k.endswith("mask") and v is not None else v for k, v in arguments.items()}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seed", range(3))
def test_compressed_attention(setting_dtype, mode, seed):
    arguments = bytes_of_mask(compressed_arguments(seed, setting_dtype))
    tensors = "query", "key", "value", "topk_mask", "atten_mask", "actual_seq_qlen", "actual_seq_kvlen"
    inputs, attributes = split(arguments, *tensors)
    with run_mode(mode):
        out, topk, *statistics = to_arrays(ms_nsa.NsaCompressAttention(**attributes)(*inputs))
        cell = ms_nsa.NsaCompressAttention(**attributes, need_output=False)
        nothing, *rest = cell(*inputs)
        assert nothing is None
        for found, same in zip(to_arrays(rest), (topk, *statistics)):
            assert found.tobytes() == same.tobytes()
    expected = family_reference.nsa_compress_attention(**arguments)
    close(out, expected[0], "out", setting_dtype, out_terms(arguments))
    check_statistics(statistics, expected[2:], setting_dtype)
    check_topk_indices(topk, arguments, setting_dtype)


@pytest.mark.parametrize("mode", MODES)
def test_compressed_attention_trains(setting_dtype, mode):
    arguments = bytes_of_mask(compressed_arguments(5, setting_dtype, topk_mask=None, atten_mask=None))
    inputs, attributes = split(arguments, "query", "key", "value", "topk_mask", "atten_mask")
    lengths = attributes.pop("actual_seq_qlen"), attributes.pop("actual_seq_kvlen")
    cell, rng = ms_nsa.NsaCompressAttention(**attributes), np.random.default_rng(1)
    expected = family_reference.nsa_compress_attention(**arguments)
    grads = [rng.standard_normal(expected[i].shape) for i in (0, 2, 3)]
    grads = [grads[0].astype(setting_dtype), *(grad.astype(np.float32) for grad in grads[1:])]
    weights = [to_tensor(grad).astype(ms.float32) for grad in grads]

    def loss(query, key, value):
        out, _, top, total = cell(query, key, value, None, None, *lengths)
        seen = ops.isfinite(top).astype(ms.float32)
        parts = out.astype(ms.float32), ops.select(ops.isfinite(top), top, ops.zeros_like(top)) * seen, total
        return sum((part * weight).sum() for part, weight in zip(parts, weights))

    with run_mode(mode):
        found = to_arrays(ms.grad(loss, (0, 1, 2))(*inputs[:3]))
    rest = {name: value for name, value in arguments.items() if name not in _CHOICE}
    seen = np.isfinite(expected[2])
    of_statistics = np.where(seen, grads[1], 0), grads[2]
    right = family_reference.nsa_compress_attention_grad(
        grads[0], **rest, softmax_max_grad=of_statistics[0], softmax_sum_grad=of_statistics[1]
    )
    terms = grad_terms(arguments, grads[0], of_statistics)
    for name, gradient, wanted in zip(("dq", "dk", "dv"), found, right):
        close(gradient, wanted, "grad", setting_dtype, terms[name])


_CHOICE = "select_block_size", "select_block_count", "init_blocks", "local_blocks", "topk_mask"


@pytest.mark.parametrize("mode", MODES)
def test_window(setting_dtype, mode):
    arguments = rounded(random_window_arguments(np.random.default_rng([17, 0])), setting_dtype)
    inputs, attributes = split(arguments, "query", "key", "value", "actual_seq_qlen", "actual_seq_kvlen")
    cell = ms_nsa.NsaWindowAttention(**attributes)
    expected = family_reference.nsa_window_attention(**arguments)
    grad = np.random.default_rng(2).standard_normal(expected[0].shape).astype(setting_dtype)

    def output(query, key, value):
        return cell(query, key, value, *inputs[3:])[0].astype(ms.float32) * to_tensor(grad).astype(ms.float32)

    with run_mode(mode):
        found = to_arrays(cell(*inputs))
        gradients = to_arrays(ms.grad(output, (0, 1, 2))(*inputs[:3]))
    terms = window_terms(arguments)
    close(found[0], expected[0], "out", setting_dtype, terms["attention_out"])
    check_statistics(found[1:], expected[1:], setting_dtype)
    terms = window_terms(arguments, grad)
    for name, gradient, right in zip(
        ("dq", "dk", "dv"), gradients, family_reference.nsa_window_attention_grad(grad, **arguments)
    ):
        close(gradient, right, "grad", setting_dtype, terms[name])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("lengths", ["tuple", "tensor", "none"])
@pytest.mark.parametrize("weighted", [True, False])
def test_compression(setting_dtype, mode, lengths, weighted):
    rng, size, stride = np.random.default_rng(3), 6, 4
    ends = [37] if lengths == "none" else [5, 20, 20, 37]
    input = rng.standard_normal((37, 3, 9)).astype(setting_dtype)
    weight = rng.standard_normal((size, 3)).astype(setting_dtype) if weighted else None
    given = {"tuple": tuple(ends), "tensor": Tensor(ends, ms.int64), "none": None}[lengths]
    cell = ms_nsa.NsaCompress(compress_block_size=size, compress_stride=stride)
    expected = family_reference.nsa_compress(input, weight, size, stride, ends)
    grad = rng.standard_normal(expected.shape).astype(setting_dtype)
    places = (0, 1) if weighted else 0

    def output(input, weight):  # without a slice, which MindSpore's CPU backend has no gradient of in bfloat16
        spare = np.zeros((37 // stride if lengths == "tensor" else len(grad), 3, 9), np.float32)
        spare[: len(grad)] = grad
        return cell(input, weight, given).astype(ms.float32) * Tensor(spare)

    with run_mode(mode):
        rows = to_array(cell(to_tensor(input), to_tensor(weight), given))
        gradients = ms.grad(output, places)(to_tensor(input), to_tensor(weight))
        gradients = to_arrays(gradients if weighted else (gradients,))
    assert len(rows) == (37 // stride if lengths == "tensor" else len(expected))
    close(rows[: len(expected)], expected, "out", setting_dtype, np.ones_like(expected))
    assert not rows[len(expected) :].view(np.uint8).any()
    right = family_reference.nsa_compress_grad(grad, input, weight, size, stride, ends)
    for gradient, wanted in zip(gradients, right):
        close(gradient, wanted, "grad", setting_dtype, np.full_like(wanted, 3.0))


@pytest.fixture(params=[np.float32, "bfloat16"], ids=["float32", "bfloat16"])
def setting_dtype(request):
    return ml_dtypes.bfloat16 if request.param == "bfloat16" else request.param


def pages_of(rows, table, page, count, layout):
    """Pages that hold the rows of one sequence by its table; NaN elsewhere."""
    pages = np.full((count, page, *rows.shape[1:]), np.nan, rows.dtype)
    for row in range(len(rows)):
        pages[table[row // page], row % page] = rows[row]
    return np.ascontiguousarray(pages.swapaxes(1, 2)) if layout == "BNSD" else pages


@pytest.mark.parametrize(
    ("mode", "layout"), [("pynative", "BSND"), ("graph", "BNSD"), slow("pynative", "BNSD"), slow("graph", "BSND")]
)
def test_decoding_equals_training(mode, layout):
    """A sequence that comes in steps of several sizes: compression bit for bit, attention and the window closely, the
    same blocks."""
    rng = np.random.default_rng(11)
    size, stride, lb, n, window, page, total = 8, 4, 8, 4, 10, 16, 61
    query, key = rng.standard_normal((total, 4, 12)), rng.standard_normal((total, 2, 12))
    query, key = query.astype(np.float32), key.astype(np.float32)
    weight = np.full((size, 2), 1 / size, np.float32)
    compressed = to_array(ms_nsa.nsa_compress(Tensor(key), Tensor(weight), size, stride))
    trained = to_arrays(
        ms_nsa.nsa_compress_attention(
            Tensor(query),
            Tensor(compressed),
            Tensor(compressed),
            None,
            4,
            size,
            stride,
            lb,
            n,
            sparse_mode=3,
            init_blocks=1,
            local_blocks=2,
        )
    )
    banded = to_arrays(ms_nsa.nsa_window_attention(Tensor(query), Tensor(key), Tensor(key), None, 4, window))
    table = rng.permutation(9)[:5].astype(np.int32)
    raw, rows = (Tensor(pages_of(array, table, page, 9, layout)) for array in (key, compressed))
    sizes = {"compress_block_size": size, "compress_stride": stride, "page_block_size": page, "cache_layout": layout}
    compress = ms_nsa.NsaCompressInfer(**sizes)
    attend = ms_nsa.NsaCompressAttentionInfer(4, 2, lb, n, layout="TND", **sizes)
    band = ms_nsa.NsaWindowAttentionInfer(4, 2, window, page, layout="TND", cache_layout=layout)
    length, tables = 0, Tensor(table[None])
    with run_mode(mode):
        for step in (1, 20, 3, 1, 1, 30, 5):
            length += step
            new = Tensor(query[length - step : length])
            slots = Tensor(np.arange(8, dtype=np.int32)[None])
            made, written = to_arrays(compress(raw, Tensor(weight), slots, tables, (length,), (step,)))
            first = 0 if length - step < size else (length - step - size) // stride + 1
            count = int((written[0] >= 0).sum())
            assert made[0, :count].tobytes() == compressed[first : first + count].tobytes()
            out, topk = to_arrays(attend(new, rows, rows, tables, (step,), (length,)))
            tokens = slice(length - step, length)
            np.testing.assert_allclose(out, trained[0][tokens], rtol=1e-5, atol=1e-5)
            np.testing.assert_array_equal(topk, trained[1][tokens])
            found = to_array(band(new, raw, raw, tables, (step,), (length,)))
            np.testing.assert_allclose(found, banded[0][tokens], rtol=1e-5, atol=1e-5)
    assert length == total


def test_a_longer_sequence_changes_no_earlier_bit():
    rng = np.random.default_rng(4)
    query, key = (
        rng.standard_normal((300, 6, 20)).astype(np.float32),
        rng.standard_normal((300, 3, 20)).astype(np.float32),
    )
    rows = family_reference.nsa_compress(key, None, 8, 4).astype(np.float32)
    rows[-3:] = np.nan
    whole = [
        *to_arrays(ms_nsa.NsaCompressAttention(6, None, 8, 4, 16, 5)(Tensor(query), Tensor(rows), Tensor(rows))),
        *to_arrays(ms_nsa.NsaWindowAttention(6, 30)(*map(Tensor, (query, key, key)))),
    ]
    for length in (1, 31, 97, 230):
        q, k = Tensor(query[:length]), Tensor(key[:length])
        c = Tensor(rows[: max(0, (length - 8) // 4 + 1)])
        part = [
            *to_arrays(ms_nsa.NsaCompressAttention(6, None, 8, 4, 16, 5)(q, c, c)),
            *to_arrays(ms_nsa.NsaWindowAttention(6, 30)(q, k, k)),
        ]
        for found, wanted in zip(part, whole):
            assert found.tobytes() == wanted[:length].tobytes()


def test_dynamic_shapes():
    rng = np.random.default_rng(6)

    class Family(nn.Cell):
        def __init__(self):
            super().__init__()
            self.compress = ms_nsa.NsaCompress(8, 4)
            self.attend = ms_nsa.NsaCompressAttention(4, None, 8, 4, 8, 4)
            self.select = ms_nsa.NsaSelectAttention(4, None, 8, 4, 3)
            self.window = ms_nsa.NsaWindowAttention(4, 9)

        def construct(self, query, key, ends):
            rows = self.compress(key, None, ends)
            out, topk, _, _ = self.attend(query, rows, rows, None, None, ends, ends)
            selected = self.select(query, key, key, topk, None, ends, ends)[0]
            return out + selected + self.window(query, key, key, ends, ends)[0]

    net = Family()
    shapes = Tensor(shape=(None, 4, 12), dtype=ms.float32), Tensor(shape=(None, 2, 12), dtype=ms.float32)
    with run_mode("graph"):
        net.set_inputs(*shapes, Tensor(shape=(None,), dtype=ms.int64))
        for ends in ([20, 50], [7, 7, 31]):
            query, key = rng.standard_normal((ends[-1], 4, 12)), rng.standard_normal((ends[-1], 2, 12))
            query, key = query.astype(np.float32), key.astype(np.float32)
            found = to_array(net(Tensor(query), Tensor(key), Tensor(ends, ms.int64)))
            rows = family_reference.nsa_compress(key, None, 8, 4, ends)
            lengths = {"actual_seq_qlen": ends, "actual_seq_kvlen": ends}
            rule = {"sparse_mode": 3, "init_blocks": 1, "local_blocks": 2}
            expected = family_reference.nsa_compress_attention(
                query, rows, rows, None, 4, 8, 4, 8, 4, **rule, **lengths
            )
            selected = reference.select_attention(
                query, key, key, expected[1], None, 8, None, ends, ends, sparse_mode=3
            )[0]
            banded = family_reference.nsa_window_attention(query, key, key, None, 4, 9, **lengths)[0]
            np.testing.assert_allclose(found, expected[0] + selected + banded, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("mode", MODES)
def test_compressed_lengths(mode):
    class Lengths(nn.Cell):
        def construct(self, ends):
            return ms_nsa.compressed_seq_lens(ends, 8, 4)

    ends = (3, 12, 40, 40, 41)
    with run_mode(mode):
        assert Lengths()(Tensor(ends, ms.int64)).asnumpy().tolist() == [0, 1, 7, 7, 7]
        assert tuple(int(n) for n in Lengths()(ends)) == family_reference.compressed_seq_lens(ends, 8, 4)


def test_paged_forms_of_the_query():
    """BSH and BSND with padded tokens against the oracle."""
    rng = np.random.default_rng(8)
    arguments = {
        "key": rng.standard_normal((9, 8, 2 * 12)).astype(np.float32), "scale_value": 0.4, "head_num": 6,
        "key_value_head_num": 2, "page_block_size": 8, "actual_seq_qlen": (2, 0, 1),
        "block_table": np.array([[4, 1, 7], [0, 0, 0], [2, 8, 3]], np.int32),
    }  # fmt: skip
    arguments["value"] = arguments["key"][..., :10].repeat(2, -1)
    for layout, shape in (("BSH", (3, 2, 72)), ("BSND", (3, 2, 6, 12))):
        query = rng.standard_normal(shape).astype(np.float32)
        (table, *tensors), rest = split({**arguments, "query": query}, "block_table", "query", "key", "value")
        q_lens = rest.pop("actual_seq_qlen")
        window = ms_nsa.NsaWindowAttentionInfer(**rest, window_size=5, layout=layout, return_softmax_lse=True)
        found = to_arrays(window(*tensors, table, q_lens, (20, 9, 11)))
        expected = paged_family_reference.nsa_window_attention_infer(
            query, **arguments, window_size=5, layout=layout, actual_seq_kvlen=(20, 9, 11), return_softmax_lse=True
        )
        for array, right in zip(found, expected):
            np.testing.assert_allclose(array, right, rtol=1e-4, atol=1e-5)
        rule = {"compress_block_size": 6, "compress_stride": 4, "select_block_size": 8, "select_block_count": 4}
        attend = ms_nsa.NsaCompressAttentionInfer(**rest, **rule, layout=layout)
        out, topk = to_arrays(attend(*tensors, table, q_lens, (80, 9, 43)))
        expected = paged_family_reference.nsa_compress_attention_infer(
            query, **arguments, **rule, layout=layout, actual_sel_seq_kvlen=(80, 9, 43)
        )
        np.testing.assert_allclose(out, expected[0], rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(topk, expected[1])


def test_no_blocks_and_no_windows():
    query, rows = ops.ones((5, 2, 8), ms.float32), ops.ones((0, 1, 8), ms.float32)
    out, topk, top, total = ms_nsa.NsaCompressAttention(2)(query, rows, rows)
    assert not out.asnumpy().any() and np.isneginf(top.asnumpy()).all() and not total.asnumpy().any()
    assert topk.asnumpy()[:, 0].tolist() == [[0, *[-1] * 15]] * 5
    assert ms_nsa.NsaCompress()(ops.ones((5, 1, 8), ms.float32)).shape == (0, 1, 8)


SMALL = {"compress_block_size": 8, "compress_stride": 4, "select_block_size": 8, "select_block_count": 4}
REFUSED = {
    "stride": (ValueError, "compress_block_size must be at least compress_stride = 9, got 8", {"compress_stride": 9}),
    "forced": (ValueError, "select_block_count must be 0 or at least init_blocks", {"local_blocks": 4}),
    "count": (ValueError, "select_block_count must be from 0 to 2147483647, got -1", {"select_block_count": -1}),
    "type": (TypeError, "init_blocks must be an int, got 1.0", {"init_blocks": 1.0}),
    "mode": (ValueError, "sparse_mode must be 0 or 2 or 3, got 1", {"sparse_mode": 1}),
    "switch": (TypeError, "need_output must be a bool, got 1", {"need_output": 1}),
    "heads": (ValueError, "head_num must equal N1 of query = 4, got 6", {"head_num": 6}),
    "rows": (RuntimeError, "key must have at least 4 rows, got 3", {}),
    "lengths": (RuntimeError, "actual_seq_kvlen must not decrease, got 3 at entry 1 after 20", {}),
    "mask": (RuntimeError, r"atten_mask must cover \[max Sq, max windows\] = \[20, 4\]", {}),
    "force": (RuntimeError, r"topk_mask must cover \[max Sq, max blocks\] = \[20, 3\]", {}),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_arguments_of_compressed_attention(name):
    error, sentence, changes = REFUSED[name]
    query, rows = ops.ones((20, 4, 8), ms.float32), ops.ones((3 if name == "rows" else 4, 2, 8), ms.float32)
    given = {"actual_seq_kvlen": (20, 3), "actual_seq_qlen": (10, 20)} if name == "lengths" else {}
    if name in ("mask", "force"):
        given["atten_mask" if name == "mask" else "topk_mask"] = ops.zeros((20, 2), ms.uint8)
    with pytest.raises(error, match=f"NsaCompressAttention: {sentence}"):
        cell = ms_nsa.NsaCompressAttention(**{"head_num": 4, **SMALL, **changes})
        to_arrays(cell(query, rows, rows, **given))


def test_wrong_pages_and_slots():
    cache, weight = ops.ones((4, 8, 2, 8), ms.float32), ops.ones((8, 2), ms.float32)
    table, slots = Tensor([[0, 9]], ms.int32), Tensor([[0]], ms.int32)
    compress = ms_nsa.NsaCompressInfer(8, 4, 8)
    with pytest.raises(RuntimeError, match="NsaCompressInfer: block_table must"):
        to_arrays(compress(cache, weight, slots, table, (16,)))
    with pytest.raises(
        RuntimeError, match="slot_mapping must have a slot for every new window: 2 at sequence 0, got 1"
    ):
        to_arrays(compress(cache, weight, slots, table, (12,), (12,)))
    query = ops.ones((1, 4, 8), ms.float32)
    with pytest.raises(RuntimeError, match="NsaWindowAttentionInfer: block_table must"):
        window = ms_nsa.NsaWindowAttentionInfer(4, 2, 5, 8, layout="TND")
        window(query, cache, cache, table, None, (12,)).asnumpy()
    with pytest.raises(RuntimeError, match="block_table must have pages for 24 compressed rows, got 2 pages of 8 rows"):
        attend = ms_nsa.NsaCompressAttentionInfer(4, 2, 8, 4, 8, 8, 4, layout="TND")
        attend(query, cache, cache, table, None, (100,))[0].asnumpy()


def test_gradients_that_are_not_defined():
    query, rows = ops.ones((20, 4, 8), ms.float32), ops.ones((4, 2, 8), ms.float32)
    cell = ms_nsa.NsaCompressAttention(4, **SMALL, need_output=False)
    with pytest.raises(RuntimeError, match="need_output must be True for gradients, got False"):
        ms.grad(lambda q: cell(q, rows, rows)[3].sum())(query)


@pytest.mark.parametrize("lengths", [(10, 20), [10, 20], np.array([10, 20])], ids=["tuple", "list", "array"])
def test_forms_of_lengths(lengths):
    input = Tensor(np.random.default_rng(1).standard_normal((20, 2, 8)).astype(np.float32))
    found = ms_nsa.nsa_compress(input, None, 8, 4, actual_seq_len=lengths)
    expected = family_reference.nsa_compress(input.asnumpy(), None, 8, 4, [10, 20])
    np.testing.assert_allclose(found.asnumpy(), expected, rtol=1e-5, atol=1e-6)


def small_call(kind):
    """A Cell of each operator of training and its inputs."""
    rng = np.random.default_rng(2)
    query, key = (Tensor(rng.standard_normal((40, heads, 24)).astype(np.float32)) for heads in (8, 2))
    rows = ms_nsa.nsa_compress(key, None, 8, 4)
    return {
        "NsaCompress": (ms_nsa.NsaCompress(8, 4), (key,)),
        "NsaCompressAttention": (ms_nsa.NsaCompressAttention(8, None, 8, 4, 8, 4), (query, rows, rows)),
        "NsaWindowAttention": (ms_nsa.NsaWindowAttention(8, 7), (query, key, key)),
    }[kind]


def results(outputs):
    return to_arrays(outputs if isinstance(outputs, tuple) else (outputs,))


KINDS = ["NsaCompress", "NsaCompressAttention", "NsaWindowAttention"]


class Network(nn.Cell):
    def __init__(self, cell):
        super().__init__()
        self.cell = cell

    def construct(self, *inputs):
        return self.cell(*inputs)


@pytest.mark.parametrize("kind", KINDS)
def test_copies_and_exported_models_give_the_same_bits(kind, tmp_path):
    cell, inputs = small_call(kind)
    expected = results(cell(*inputs))
    for twin in (copy.deepcopy(cell), pickle.loads(pickle.dumps(cell))):
        assert same_bits(results(twin(*inputs)), expected)
    with run_mode("graph"):
        ms.export(Network(cell), *inputs, file_name=str(tmp_path / "model"), file_format="MINDIR")
        loaded = nn.GraphCell(ms.load(str(tmp_path / "model.mindir")))
        assert same_bits(results(loaded(*inputs)), expected)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
def test_mixed_precision(kind, mode):
    cell, inputs = small_call(kind)
    expected = results(cell(*inputs))[0]
    cell.to_float(ms.float16)

    def loss(*tensors):
        outputs = cell(*tensors)
        if isinstance(outputs, tuple):
            outputs = outputs[0]
        return outputs.astype(ms.float32).sum()

    with run_mode(mode):
        found = cell(*inputs)
        found = found[0] if isinstance(found, tuple) else found
        assert found.dtype == ms.float16
        np.testing.assert_allclose(to_array(found), expected, rtol=1e-2, atol=5e-3)
        assert ms.grad(loss)(*inputs).dtype == ms.float32


def test_second_order_is_refused():
    _, (query, key, _) = small_call("NsaWindowAttention")

    def loss(tensor):
        return ms_nsa.nsa_window_attention(tensor, key, key, None, 8, 7)[0].sum()

    with pytest.raises(RuntimeError, match="NsaWindowAttentionGrad: gradients of the gradient are not defined"):
        ms.grad(ms.grad(loss))(query)
