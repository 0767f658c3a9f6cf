# SPDX-License-Identifier: Apache-2.0
"""The Cells inside graphs: dynamic shapes, jit, differentiation, recompute, export."""

import pathlib
import subprocess
import sys
from dataclasses import replace

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn, ops

import ms_nsa
from support import check_forward, check_gradients, make_paged_case, make_select_case, run_cells
from support.marks import slow
from support.run_cells import run_forward, run_training, same_bits, to_array, to_arrays

SIZES = {"n2": 3, "group": 2, "d1": 21, "d2": 35, "select_block_size": 9, "select_block_count": 5}
LENGTHS = [([7, 0, 12], [45, 11, 70]), ([3], [20]), ([1, 2, 3, 4, 0], [9, 1, 30, 4, 5]), ([7, 0, 12], [1, 80, 45])]
LOAD_AND_RUN = """
import sys
import mindspore as ms
import numpy as np
net = ms.nn.GraphCell(ms.load(sys.argv[1]))
outputs = net(*(ms.Tensor(array) for array in np.load(sys.argv[2]).values()))
outputs = outputs if isinstance(outputs, tuple) else (outputs,)
assert "ms_nsa" not in sys.modules
np.savez(sys.argv[3], *(output.asnumpy() for output in outputs))
"""


def select_case(q_lens=(7, 0, 12), kv_lens=(45, 11, 70), seed=0, **changes):
    rng = np.random.default_rng([9, seed])
    return make_select_case(rng, np.float32, q_lens, kv_lens, **{"sparse_mode": 3, **SIZES, **changes})


def select_case_with_mask():
    return select_case(atten_mask=random_mask([12], [70]))


def paged_case(q_lens=(3, 1, 2, 2), kv_lens=(45, 70, 0, 33), layout="BSND", seed=0, **changes):
    sizes = {**SIZES, "page_block_size": 14, "spare_pages": 2, "spare_slots": 1, **changes}
    return make_paged_case(np.random.default_rng([10, seed]), np.float32, layout, 3, q_lens, kv_lens, **sizes)


def unknown(inputs, free):
    """Stand-ins for set_inputs: ``free`` says whether all extents are unknown, the rank too, or T and B alone."""

    def stand_in(tensor):
        shapes = {"extents": [None] * tensor.ndim, "rank": None, "tokens": [None, *tensor.shape[1:]]}
        return ms.Tensor(shape=shapes[free], dtype=tensor.dtype)

    return [stand_in(tensor) if isinstance(tensor, ms.Tensor) else tensor for tensor in inputs]


def random_mask(q_lens, kv_lens, margin=0):
    return np.random.default_rng(1).random((max(q_lens) + margin, max(kv_lens) + 2 * margin)) < 0.2


class Loss(nn.Cell):
    """sum(attention_out * grad): its gradients are those of the case."""

    def __init__(self, cell):
        super().__init__()
        self.cell = cell

    def construct(self, *inputs):
        return (self.cell(*inputs[:-1])[0] * inputs[-1]).sum()


class Gradients(nn.Cell):
    def __init__(self, net):
        super().__init__()
        self.net = net
        self.differentiate = ops.GradOperation(get_all=True)

    def construct(self, *inputs):
        return self.differentiate(self.net)(*inputs)


def test_known_shapes_compile_once_each(graph_mode, compiled):
    """Proves the counter, and that Tensor lengths are no part of what is compiled."""
    cell = ms_nsa.NsaSelectAttention(**run_cells.attributes_of(select_case()))
    counts = []
    for q_lens, kv_lens in (*LENGTHS, ([12, 7, 0], [45, 11, 70]), ([0, 19, 0], [45, 80, 1])):
        case = select_case(q_lens, kv_lens)
        check_forward(case, *to_arrays(cell(*run_cells.forward_inputs(case, "int64"))))
        counts.append(len(compiled))
    assert counts == [1, 2, 3, 3, 3, 3]
    assert len(cell.compile_cache) == 3


@pytest.mark.parametrize("free", ["tokens", "extents", "rank"])
@pytest.mark.parametrize("masked", [False, True])
def test_dynamic_forward_compiles_once(graph_mode, compiled, free, masked):
    cell = ms_nsa.NsaSelectAttention(**run_cells.attributes_of(select_case()))
    for i, (q_lens, kv_lens) in enumerate(LENGTHS):
        case = select_case(q_lens, kv_lens, atten_mask=random_mask(q_lens, kv_lens, i) if masked else None)
        inputs = run_cells.forward_inputs(case, "int64")
        if i == 0:
            cell.set_inputs(*unknown(inputs, "extents" if free == "tokens" and masked else free))
        check_forward(case, *to_arrays(cell(*inputs)))
    assert len(compiled) == 1


@pytest.mark.parametrize("free", ["tokens", "extents"])
def test_dynamic_gradients_compile_once(graph_mode, compiled, free):
    net = Gradients(Loss(ms_nsa.NsaSelectAttention(**run_cells.attributes_of(select_case()))))
    for i, (q_lens, kv_lens) in enumerate(LENGTHS):
        case = select_case(q_lens, kv_lens)
        inputs = *run_cells.forward_inputs(case, "int64"), ms.Tensor(case.grad)
        if i == 0:
            net.set_inputs(*unknown(inputs, free))
        check_gradients(case, *to_arrays(net(*inputs)[:3]))
    assert len(compiled) == 1


def test_dynamic_gradient_cell_compiles_once(graph_mode, compiled):
    cell = ms_nsa.NsaSelectAttentionGrad(**run_cells.attributes_of(select_case()))
    for i, (q_lens, kv_lens) in enumerate(LENGTHS):
        case = select_case(q_lens, kv_lens)
        given, inputs = (
            [ms.Tensor(array) for array in (case.grad, *case.saved)],
            run_cells.forward_inputs(case, "int64"),
        )
        inputs = given[0], *inputs[:3], *given[1:], *inputs[3:]
        if i == 0:
            cell.set_inputs(*unknown(inputs, "extents"))
        check_gradients(case, *to_arrays(cell(*inputs)))
    assert len(compiled) == 1


@pytest.mark.parametrize("free", ["tokens", "extents", "rank"])
@pytest.mark.parametrize("layout", ["BSH", "BSND", "TND"])
def test_dynamic_inference_compiles_once(graph_mode, compiled, layout, free):
    cell = ms_nsa.NsaSelectedAttentionInfer(**run_cells.attributes_of(paged_case(layout=layout)))
    shapes = [((3, 1, 2, 2), (45, 70, 0, 33)), ((3,), (90,)), ((1, 2, 3), (9, 14, 15)), ((2, 0, 3), (0, 14, 15))]
    for i, (q_lens, kv_lens) in enumerate(shapes):
        case = paged_case(q_lens, kv_lens, layout)
        inputs = run_cells.forward_inputs(case, "int64")
        if i == 0:
            # The table's width and the number of pages change too, which "tokens" knows by their first extent only.
            stand_ins = unknown(inputs, free)
            stand_ins[4] = ms.Tensor(shape=[None, None], dtype=ms.int32)
            cell.set_inputs(*stand_ins)
        check_forward(case, to_array(cell(*inputs)))
    assert len(compiled) == 1


def test_dynamic_shapes_stay_within_a_dynamic_network(graph_mode, compiled):
    """Shapes that other operators make dynamic, and a user of the output that needs its inferred shape."""

    class Network(nn.Cell):
        def __init__(self, attributes):
            super().__init__()
            self.attention = ms_nsa.NsaSelectAttention(**attributes)
            self.project = nn.Dense(35, 4)

        def construct(self, query, key, value, topk_indices, kvlen):
            rows = ops.concat((query, query))
            out, top, total = self.attention(
                rows, key, value, ops.concat((topk_indices, topk_indices)), None, None, kvlen
            )
            return self.project(out).reshape((-1, 4 * out.shape[1])), top + total

    net = Network(run_cells.attributes_of(select_case(sparse_mode=0)))
    for tokens, rows in ((5, 60), (9, 30)):
        case = select_case([tokens], [rows], sparse_mode=0)
        inputs = run_cells.forward_inputs(case, "int64")
        inputs = [*inputs[:4], inputs[6]]
        if not compiled:
            net.set_inputs(*unknown(inputs, "extents"))
        out, statistics = net(*inputs)
        expected = case.forward[0].astype(np.float32) @ net.project.weight.asnumpy().T + net.project.bias.asnumpy()
        np.testing.assert_allclose(to_array(out), np.tile(expected.reshape(tokens, -1), (2, 1)), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(
            to_array(statistics), np.tile(case.forward[1] + case.forward[2], (2, 1, 1)), rtol=1e-4, atol=1e-4
        )
    assert len(compiled) == 1


def test_jit(mode, compiled):
    """Cells and functions inside a compiled function; new values of the lengths need no new graph."""
    case = select_case()
    cell = ms_nsa.NsaSelectAttention(**run_cells.attributes_of(case))

    @ms.jit
    def attend(query, key, value, topk_indices, qlen, kvlen):
        out, top, total = cell(query, key, value, topk_indices, None, qlen, kvlen)
        return out, top, total

    with run_cells.run_mode(mode):
        for q_lens in ((7, 0, 12), (12, 3, 4)):
            case = select_case(q_lens)
            inputs = run_cells.forward_inputs(case, "int64")
            check_forward(case, *to_arrays(attend(*inputs[:4], *inputs[5:])))
    assert len(compiled) == 1


def test_jit_of_the_functional_forms(mode):
    case, paged = select_case(sparse_mode=0), paged_case()
    ends, lens = (case.actual_seq_qlen, case.actual_seq_kvlen), (paged.actual_seq_qlen, paged.actual_seq_kvlen)
    heads = case.head_num

    @ms.jit
    def attend(query, key, value, topk_indices):
        return ms_nsa.nsa_select_attention(query, key, value, topk_indices, None, heads, 9, 5, None, *ends)

    @ms.jit
    def decode(query, key, value, topk_indices, block_table):
        return ms_nsa.nsa_select_attention_infer(
            query, key, value, topk_indices, None, heads, 3, 9, 5, 14, block_table=block_table,
            actual_seq_qlen=lens[0], actual_seq_kvlen=lens[1],
        )  # fmt: skip

    with run_cells.run_mode(mode):
        check_forward(case, *to_arrays(attend(*run_cells.forward_inputs(case)[:4])))
        check_forward(paged, to_array(decode(*run_cells.forward_inputs(paged)[:5])))


def test_value_and_grad(mode):
    case = select_case()
    loss = Loss(run_cells.forward_cell(case))
    with run_cells.run_mode(mode):
        inputs = *run_cells.forward_inputs(case, "int64"), ms.Tensor(case.grad)
        value, gradients = ms.value_and_grad(loss, (0, 1, 2))(*inputs)
        np.testing.assert_allclose(value.asnumpy(), (case.forward[0] * case.grad).sum(), rtol=1e-4)
        check_gradients(case, *to_arrays(gradients))


def test_value_and_grad_under_jit(mode):
    case = select_case()
    loss = Loss(run_cells.forward_cell(case))
    with run_cells.run_mode(mode):
        inputs = *run_cells.forward_inputs(case, "int64"), ms.Tensor(case.grad)
        _, gradients = ms.jit(ms.value_and_grad(loss, (0, 1, 2)))(*inputs)
        check_gradients(case, *to_arrays(gradients))


@pytest.mark.parametrize("position", [0, 1, 2, (2,), (0, 2), (2, 1)], ids=str)
def test_gradients_of_some_inputs_only(mode, position):
    case = select_case()
    loss = Loss(run_cells.forward_cell(case))
    with run_cells.run_mode(mode):
        inputs = *run_cells.forward_inputs(case, "int64"), ms.Tensor(case.grad)
        found = ms.grad(loss, position)(*inputs)
        found = to_arrays(found if isinstance(found, tuple) else (found,))
    wanted = position if isinstance(position, tuple) else (position,)
    everything = run_training(case, mode)[3:]
    assert same_bits(found, [everything[i] for i in wanted])


def test_other_inputs_get_no_gradient(mode):
    """Indices, mask and lengths of every form: zeros of their shape and dtype."""
    case = select_case(atten_mask=random_mask([7, 12], [70]))
    for lengths in ("int32", "int64"):
        with run_cells.run_mode(mode):
            inputs = *run_cells.forward_inputs(case, lengths), ms.Tensor(case.grad)
            found = Gradients(Loss(run_cells.forward_cell(case)))(*inputs)
        assert len(found) == len(inputs)
        for gradient, tensor in zip(found[3:7], inputs[3:7]):
            assert (gradient.shape, gradient.dtype) == (tensor.shape, tensor.dtype)
            assert not gradient.asnumpy().any()


def test_two_cells_with_different_attributes_in_one_graph(mode):
    """Both take part forwards and backwards, each with its own scale and causal rule."""
    first = select_case(q_lens=[30], kv_lens=[40], scale_value=0.3, sparse_mode=2)
    second = replace(first, scale_value=-0.1, sparse_mode=3)

    class Both(nn.Cell):
        def __init__(self):
            super().__init__()
            self.first = ms_nsa.NsaSelectAttention(**run_cells.attributes_of(first))
            self.second = ms_nsa.NsaSelectAttention(**run_cells.attributes_of(second))

        def construct(self, *inputs):
            return self.first(*inputs)[0], self.second(*inputs)[0]

    class BothLosses(Both):
        def construct(self, *inputs):
            one, two = self.first(*inputs[:-1])[0], self.second(*inputs[:-1])[0]
            return (one * inputs[-1]).sum() - (two * inputs[-1]).sum()

    expected = run_training(first, mode), run_training(second, mode)
    assert not same_bits(*expected)
    with run_cells.run_mode(mode):
        inputs = run_cells.forward_inputs(first)
        assert same_bits(to_arrays(Both()(*inputs)), [outputs[0] for outputs in expected])
        found = to_arrays(ms.grad(BothLosses(), (0, 1, 2))(*inputs, ms.Tensor(first.grad)))
    for gradient, one, two in zip(found, expected[0][3:], expected[1][3:]):
        np.testing.assert_allclose(gradient, one - two, rtol=1e-5, atol=1e-5)


def test_one_cell_used_twice(mode):
    """Attention over attention: the same primitive at two places of one graph."""
    case = select_case(q_lens=[40], kv_lens=[40], d1=24, d2=24)
    cell = run_cells.forward_cell(case)

    class Twice(nn.Cell):
        def __init__(self):
            super().__init__()
            self.cell = cell

        def construct(self, query, key, value, topk_indices):
            out = self.cell(query, key, value, topk_indices)[0]
            return self.cell(out, key, value, topk_indices)[0]

    with run_cells.run_mode(mode):
        inputs = run_cells.forward_inputs(case)[:4]
        (found,) = to_arrays((Twice()(*inputs),))
    once = run_forward(case, mode)[0]
    assert found.tobytes() == run_forward(replace(case, query=once), mode)[0].tobytes()


class Layer(nn.Cell):
    """A projection and attention of its rows to themselves."""

    def __init__(self, recompute=False):
        super().__init__()
        self.project = nn.Dense(24, 6 * 21 + 3 * 21 + 3 * 35, weight_init=ms.Tensor(self._weights()), has_bias=False)
        self.attention = ms_nsa.NsaSelectAttention(6, None, 9, 5, sparse_mode=2)
        if recompute:
            self.attention.recompute()

    @staticmethod
    def _weights():
        return np.random.default_rng(3).standard_normal((294, 24)).astype(np.float32) / 5

    def construct(self, rows, topk_indices):
        query, key, value = ops.split(self.project(rows), (126, 63, 105), axis=1)
        shapes = (-1, 6, 21), (-1, 3, 21), (-1, 3, 35)
        query, key, value = query.reshape(shapes[0]), key.reshape(shapes[1]), value.reshape(shapes[2])
        return (self.attention(query, key, value, topk_indices)[0] ** 2).sum()


def layer_gradients(layer):
    case = select_case(q_lens=[31], kv_lens=[31])
    rows = ms.Tensor(np.random.default_rng(4).standard_normal((31, 24)).astype(np.float32))
    step = ms.value_and_grad(layer, 0, weights=layer.trainable_params())
    value, (of_rows, of_weights) = step(rows, ms.Tensor(case.topk_indices))
    return to_arrays((value, of_rows, *of_weights))


def test_recompute_gives_the_same_gradients(graph_mode):
    plain, recomputed = layer_gradients(Layer()), layer_gradients(Layer(recompute=True))
    assert all(gradient.any() for gradient in plain)
    assert same_bits(plain, recomputed)


def test_recompute_in_pynative_mode():
    case = select_case()
    cell = run_cells.forward_cell(case)
    inputs = run_cells.forward_inputs(case, "int64")

    def loss(query, key, value):
        out = ms.recompute(cell, query, key, value, *inputs[3:])[0]
        return (out * ms.Tensor(case.grad)).sum()

    check_gradients(case, *to_arrays(ms.grad(loss, (0, 1, 2))(*inputs[:3])))


def test_layer_agrees_in_both_modes():
    found = []
    for mode in run_cells.MODES:
        with run_cells.run_mode(mode):
            found.append(layer_gradients(Layer()))
    for one, other in zip(*found):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def export(cell, inputs, folder):
    path = folder / "net.mindir"
    ms.export(cell, *inputs, file_name=str(path), file_format="MINDIR")
    return path


def tensors_of(inputs):
    return [value for value in inputs if isinstance(value, ms.Tensor)]


@pytest.mark.parametrize("make", [slow(select_case), select_case_with_mask, paged_case])
def test_export_and_reload(graph_mode, tmp_path, make):
    """Here, and in a process that does not know this package."""
    case = make()
    inputs = run_cells.forward_inputs(case, "int64")
    path = export(run_cells.forward_cell(case), inputs, tmp_path)
    plain = run_forward(case, "graph")
    found = nn.GraphCell(ms.load(str(path)))(*tensors_of(inputs))
    assert same_bits(plain, to_arrays(found if isinstance(found, tuple) else (found,)))
    assert same_bits(plain, run_in_a_fresh_process(path, tensors_of(inputs), tmp_path))


def run_in_a_fresh_process(path, inputs, folder):
    np.savez(folder / "inputs.npz", *(tensor.asnumpy() for tensor in inputs))
    arguments = [str(path), str(folder / "inputs.npz"), str(folder / "outputs.npz")]
    done = subprocess.run(
        [sys.executable, "-c", LOAD_AND_RUN, *arguments], capture_output=True, text=True, cwd=pathlib.Path("/")
    )
    assert done.returncode == 0, done.stderr
    return tuple(np.load(folder / "outputs.npz").values())


def test_export_with_dynamic_shapes(graph_mode, tmp_path):
    case = select_case()
    stand_ins = unknown(run_cells.forward_inputs(case, "int64"), "tokens")
    path = export(ms_nsa.NsaSelectAttention(**run_cells.attributes_of(case)), stand_ins, tmp_path)
    net = nn.GraphCell(ms.load(str(path)))
    for q_lens, kv_lens in LENGTHS:
        case = select_case(q_lens, kv_lens)
        check_forward(case, *to_arrays(net(*tensors_of(run_cells.forward_inputs(case, "int64")))))


def test_export_of_a_model_with_lengths_built_in(graph_mode, tmp_path):
    """Tuples become constants of the graph."""
    case = select_case()

    class Model(nn.Cell):
        def __init__(self):
            super().__init__()
            self.attention = ms_nsa.NsaSelectAttention(**run_cells.attributes_of(case))

        def construct(self, query, key, value, topk_indices):
            return self.attention(query, key, value, topk_indices, None, (7, 7, 19), (45, 56, 126))

    inputs = run_cells.forward_inputs(case)[:4]
    path = export(Model(), inputs, tmp_path)
    assert same_bits(run_forward(case, "graph"), to_arrays(nn.GraphCell(ms.load(str(path)))(*inputs)))
