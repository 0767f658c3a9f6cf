# SPDX-License-Identifier: Apache-2.0
"""The layer as it is composed for Ascend, with the operators of the house on the CPU: in float32, which MindSpore's own
operators have here."""

from types import SimpleNamespace

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor
from test_layer import inputs, make_layer
from test_layer_infer import FORMS, STEPS, decode, make_pair

from ms_nsa import layer_on_ascend
from ms_nsa.page_writer import NsaPageSlots, NsaWritePages
from support.marks import slow
from support.run_cells import run_mode, to_array, to_arrays

CACHE = SimpleNamespace(num_pages=12, num_compressed_pages=9, page_block_size=4)
TABLES = np.array([[3, 0, 7, -1], [5, 11, 2, 1]], np.int32), np.array([[8, 1], [0, 4]], np.int32)


@pytest.fixture
def composed(monkeypatch):
    monkeypatch.setattr(layer_on_ascend, "in_use", lambda: True)


@pytest.mark.parametrize("lengths", [((5, 3), (9, 16)), ((8, 0), (8, 2)), ((0, 8), (0, 15)), ((1, 1), (12, 4))])
@pytest.mark.parametrize("layout", ["TND", "BSND"])
def test_page_slots(layout, lengths):
    q_lens, kv_lens = (np.array(each) for each in lengths)
    shape = (q_lens.sum(), 2) if layout == "TND" else (2, 8, 2)
    given = [Tensor(np.zeros(shape, np.float32)), *map(Tensor, (*TABLES, q_lens, kv_lens))]
    for sizes in ((4, 2), (3, 3), (7, 4)):
        rightly = to_arrays(NsaPageSlots(layout, CACHE, *sizes)(*given))
        found = to_arrays(layer_on_ascend.PageSlots(layout, CACHE, *sizes)(*given))
        assert [each.dtype for each in found] == [np.int32] * 4
        assert all(np.array_equal(a, b) for a, b in zip(found, rightly))


def test_rows_without_a_page_have_no_slot():
    """Where the CPU raises: beyond the table, and in a page that is not there."""
    tables = np.array([[3, -1], [99, 1]], np.int32), np.array([[8], [9]], np.int32)
    given = [Tensor(np.zeros((9, 2), np.float32)), *map(Tensor, (*tables, np.array([5, 4]), np.array([9, 4])))]
    _, slots, compressed, _ = to_arrays(layer_on_ascend.PageSlots("TND", CACHE, 4, 4)(*given))
    assert slots.tolist() == [-1] * 9 and compressed.tolist() == [[33, -1, -1], [-1, -1, -1]]


@pytest.mark.parametrize("slots", [[4, -1, 0, 11], slow([-1, -1, -1, -1]), slow([-1, 7, 2, -1])])
@pytest.mark.parametrize("mode", ["pynative", "graph"])
@pytest.mark.parametrize("layout", ["BNSD", "BSND"])
def test_writing_pages(layout, mode, slots):
    rng = np.random.default_rng(2)
    shape = (3, 2, 4) if layout == "BNSD" else (3, 4, 2)
    pages = [rng.standard_normal((*shape, width)).astype(np.float32) for width in (6, 5)]
    rows = [rng.standard_normal((4, 2, width)).astype(np.float32) for width in (6, 5)]
    found = []
    for cell in (NsaWritePages, layer_on_ascend.WritePages):
        parameters = [ms.Parameter(Tensor(array), name=f"pages{n}") for n, array in enumerate(pages)]
        with run_mode(mode):
            lengths = cell(layout)(*parameters, *map(Tensor, (*rows, np.array(slots, np.int32), np.array([3, 9]))))
            assert to_array(lengths).tolist() == [3, 9]
        found.append([to_array(parameter).tobytes() for parameter in parameters])
    assert found[0] == found[1]


def test_training(composed, monkeypatch):
    x, layer = Tensor(inputs(40)), make_layer()
    assert isinstance(layer.to_query.project, layer_on_ascend.Project)
    monkeypatch.undo()
    on_cpu = make_layer()
    for a, b in zip(results(layer, x), results(on_cpu, x)):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    with run_mode("graph"):
        np.testing.assert_allclose(to_array(layer(x)), to_array(on_cpu(x)), rtol=1e-5, atol=1e-5)


def results(layer, x):
    """The output and all gradients."""

    def loss(x):
        return layer(x).sum()

    of_x, of_weights = ms.grad(loss, 0, layer.trainable_params())(x)
    return to_arrays((layer(x), of_x, *of_weights))


@pytest.mark.parametrize("form", [*map(slow, ("weighted after", "mean before", "linear none")), "independent"])
def test_decoding(composed, form):
    trained, infer = make_pair(**FORMS[form])
    assert isinstance(infer.write, layer_on_ascend.WritePages)
    sequences = [inputs(sum(step[number] for step in STEPS), number) for number in (0, 1)]
    for x, rows in zip(sequences, decode(infer, sequences, STEPS)):
        np.testing.assert_allclose(rows, trained(Tensor(x)).asnumpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_decoding_in_a_graph(composed):
    _, infer = make_pair()
    sequences = [inputs(24, number) for number in (0, 1)]
    expected = decode(infer, sequences, [(20, 20), (4, 4)])
    _, infer = make_pair()
    with run_mode("graph"):
        found = decode(infer, sequences, [(20, 20), (4, 4)], as_lengths=Tensor)
    for a, b in zip(found, expected):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_on_ascend_the_choice_is_made(monkeypatch):
    monkeypatch.setattr(ms, "get_context", lambda name: "Ascend")
    assert layer_on_ascend.in_use()
    monkeypatch.setattr(ms, "get_context", lambda name: "CPU")
    assert not layer_on_ascend.in_use()
