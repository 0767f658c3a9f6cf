# SPDX-License-Identifier: Apache-2.0
"""The layer of native sparse attention against its oracle, in both modes."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

import ms_nsa
from ms_nsa.layer_parts import Sigmoid
from ms_nsa.layer_reference import Layer
from support.run_cells import run_mode, to_array

SIZES = {
    "head_num": 4, "key_value_head_num": 2, "compress_block_size": 8, "compress_stride": 4, "select_block_size": 8,
    "select_block_count": 4, "window_size": 10,
}  # fmt: skip
HIDDEN, ENDS = 24, (3, 3, 40, 57)


def make_layer(cell=ms_nsa.NativeSparseAttention, seed=0, **changes):
    """A layer with random parameters, gates included."""
    layer = cell(HIDDEN, **{**SIZES, "key_head_dim": 12, "value_head_dim": 8, **changes})
    rng = np.random.default_rng(seed)
    for parameter in layer.trainable_params():
        scale = 0.5 / np.sqrt(parameter.shape[-1]) if "compress" in parameter.name else 1.5 / np.sqrt(HIDDEN)
        values = rng.standard_normal(parameter.shape) * scale
        if parameter.name.endswith("compress_key.weight") or parameter.name.endswith("compress_value.weight"):
            values = rng.random(parameter.shape) * 0.2
        parameter.set_data(Tensor(values.astype(np.float32)).astype(parameter.dtype))
    return layer


def oracle(layer, **changes):
    arrays = {name: to_array(value.value()) for name, value in layer.parameters_dict().items()}
    return Layer(arrays, **SIZES, **changes)


def inputs(rows=ENDS[-1], seed=1):
    return np.random.default_rng(seed).standard_normal((rows, HIDDEN)).astype(np.float32)


FORMS = {
    "weighted after": {},
    "mean before": {"compress": "mean", "compress_rope": "before"},
    "linear none": {"compress": "linear", "compress_rope": "none"},
    "independent": {"independent_kv": True, "has_bias": True},
    "independent none": {"independent_kv": True, "compress_rope": "none", "scale_value": 0.3, "gate_bias": False},
    "no rotary": {"rope_theta": None, "compress": "linear"},
}
OF_REFERENCE = "compress", "compress_rope", "rope_theta", "independent_kv", "scale_value"


def reference_of(layer, form):
    return oracle(layer, **{name: value for name, value in form.items() if name in OF_REFERENCE})


@pytest.mark.parametrize("form", FORMS)
def test_results(form):
    layer, x = make_layer(**FORMS[form]), inputs()
    expected = reference_of(layer, FORMS[form])(x, ENDS)
    for lengths in (ENDS, np.array(ENDS), Tensor(ENDS, ms.int64), Tensor(ENDS, ms.int32)):
        np.testing.assert_allclose(layer(Tensor(x), lengths).asnumpy(), expected, rtol=1e-4, atol=1e-5)
    batch = layer(Tensor(x[:56].reshape(2, 28, HIDDEN))).asnumpy()
    packed = layer(Tensor(x[:56]), [28, 56]).asnumpy()
    assert batch.tobytes() == packed.tobytes()
    alone = layer(Tensor(x[:28])).asnumpy()
    assert alone.tobytes() == packed[:28].tobytes()


def loss_of(layer, lengths, sens):
    def loss(x):
        return (layer(x, lengths).astype(ms.float32) * sens).sum()

    return loss


def results_and_gradients(layer, x, lengths, sens):
    """The loss, and gradients of x and of the parameters."""
    differentiate = ms.value_and_grad(loss_of(layer, lengths, Tensor(sens)), 0, weights=layer.trainable_params())
    loss, (of_x, of_parameters) = differentiate(x)
    return [to_array(loss), to_array(of_x), *map(to_array, of_parameters)]


def random_sens(seed=3):
    return np.random.default_rng(seed).standard_normal((ENDS[-1], HIDDEN)).astype(np.float32)


@pytest.mark.parametrize("form", FORMS)
def test_gradients_are_the_oracle_s_differences(form):
    layer, x, sens = make_layer(**FORMS[form]), inputs(), random_sens()
    reference, names = reference_of(layer, FORMS[form]), ["x", *(p.name for p in layer.trainable_params())]
    gradients = dict(zip(names, results_and_gradients(layer, Tensor(x), ENDS, sens)[1:]))
    values, step, rng = {"x": x.astype(np.float64), **reference.parameters}, 1e-6, np.random.default_rng(4)
    direction = {name: rng.standard_normal(values[name].shape) for name in names}

    def moved(by, chosen):
        reference.parameters = {n: v + by * direction[n] * (n in chosen) for n, v in values.items() if n != "x"}
        return (reference(values["x"] + by * direction["x"] * ("x" in chosen), ENDS) * sens).sum()

    for chosen in ("x",), names[1::3], names[2::3], names[3::3]:  # directions of several parameters together
        expected = (moved(step, chosen) - moved(-step, chosen)) / (2 * step)
        found = sum((gradients[name] * direction[name]).sum(dtype=np.float64) for name in chosen)
        assert abs(found - expected) < 1e-3 * max(1, abs(expected)), (chosen, found, expected)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_graphs_and_dtypes(dtype):
    """Both modes; activations in 16 bits too, with gradients as those of float32."""
    dtype, sens = getattr(ms, dtype), random_sens()
    layer, x = make_layer(compute_dtype=dtype, independent_kv=False), Tensor(inputs()).astype(dtype)
    lengths = Tensor(ENDS, ms.int64)
    found = results_and_gradients(layer, x, lengths, sens)
    assert layer(x, lengths).dtype == dtype
    in_graph = found
    if dtype == ms.bfloat16:  # the other two are alike to MindSpore; test_layer_uses.py compiles float32
        with run_mode("graph"):
            in_graph = results_and_gradients(layer, x, lengths, sens)
    single = results_and_gradients(make_layer(), x.astype(ms.float32), ENDS, sens)
    bar = 1e-5 if dtype == ms.float32 else 0.15  # a choice of blocks may change in 16 bits
    for ours, theirs, right in zip(found, in_graph, single):
        ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
        scale = np.sqrt((right.astype(np.float64) ** 2).mean()) + 1e-6
        assert np.sqrt(((ours - theirs) ** 2).mean()) < (1e-5 if dtype == ms.float32 else 2e-2) * scale
        assert np.sqrt(((ours - right) ** 2).mean()) < bar * scale


@pytest.mark.parametrize("dtype", [ms.float32, ms.bfloat16])
def test_later_tokens_change_no_bit(dtype):
    layer = make_layer(compute_dtype=dtype)
    x = inputs(300)
    whole = to_array(layer(Tensor(x)))
    for length in (1, 2, 7, 8, 9, 64, 257):
        assert to_array(layer(Tensor(x[:length]))).tobytes() == whole[:length].tobytes()
        changed = x.copy()
        changed[length:] = 9.0
        assert to_array(layer(Tensor(changed)))[:length].tobytes() == whole[:length].tobytes()


@pytest.mark.parametrize("mode", ["pynative", "graph"])
def test_gates_of_any_logit(mode):
    """Right and with a finite gradient wherever they saturate; NaN stays where it is and changes no other bit."""
    logits = np.float32([-1e30, -1000, -88.5, -20, -1, 0, 0.3, 17, 1000, np.nan])
    with run_mode(mode):
        gates = to_array(Sigmoid()(Tensor(logits)))
        gradient = to_array(ms.grad(Sigmoid())(Tensor(logits)))
    assert np.isnan(gates[-1]) and np.isnan(gradient[-1])
    right = 1 / (1 + np.exp(-np.float64(logits[:-1]).clip(-700)))
    np.testing.assert_allclose(gates[:-1], right, rtol=1e-5, atol=1e-30)
    np.testing.assert_allclose(gradient[:-1], right * (1 - right), rtol=1e-5, atol=1e-6)
    many = inputs(1000).reshape(-1)
    expected = to_array(Sigmoid()(Tensor(many)))
    many[777] = np.nan
    assert np.array_equal(np.flatnonzero(to_array(Sigmoid()(Tensor(many))) != expected), [777])


def test_gates_isolate_branches():
    rng = np.random.default_rng(2)
    query, key, value = (Tensor(rng.standard_normal((57, *w)).astype(np.float32)) for w in ((4, 12), (2, 12), (2, 8)))
    keys, values = ms_nsa.nsa_compress(key, None, 8, 4, ENDS), ms_nsa.nsa_compress(value, None, 8, 4, ENDS)
    core, lengths = ms_nsa.NsaAttention(**SIZES), {"actual_seq_qlen": ENDS, "actual_seq_kvlen": ENDS}
    compressed, blocks, _, _ = core.compressed(query, keys, values, **lengths)
    expected = (
        compressed,
        core.selected(query, key, value, blocks, **lengths)[0],
        ms_nsa.NsaWindowAttention(4, 10)(query, key, value, ENDS, ENDS)[0],
    )
    for branch, wanted in enumerate(expected):
        gates = np.zeros((57, 4, 3), np.float32)
        gates[..., branch] = 1
        found = core(query, key, value, Tensor(gates), keys, values, ENDS)
        assert found.asnumpy().tobytes() == wanted.asnumpy().tobytes()
    found = core(query, key, value, Tensor(gates), keys, values, ENDS, window_key=2 * key, window_value=-value)
    wanted = ms_nsa.NsaWindowAttention(4, 10)(query, 2 * key, -value, ENDS, ENDS)[0]
    assert found.asnumpy().tobytes() == wanted.asnumpy().tobytes()


class MeanOfWindow(nn.Cell):
    def construct(self, windows):
        return windows.mean(2)


def double(x, positions):
    return 2 * x


def test_cells_and_callables():
    """A Cell that compresses, and other rotations."""
    x = Tensor(inputs())
    mean = make_layer(compress="mean")(x, ENDS).asnumpy()
    np.testing.assert_allclose(make_layer(compress=MeanOfWindow())(x, ENDS).asnumpy(), mean, rtol=1e-4, atol=1e-5)
    form = {"compress": "mean", "rope_theta": double}
    layer = make_layer(**form)
    np.testing.assert_allclose(
        layer(x, ENDS).asnumpy(), reference_of(layer, form)(x.asnumpy(), ENDS), rtol=1e-4, atol=1e-5
    )
    same = make_layer(compress="mean", rope_theta=double, compress_rope=double)
    assert layer(x, ENDS).asnumpy().tobytes() == same(x, ENDS).asnumpy().tobytes()


@pytest.mark.parametrize("form", ["weighted after", "linear none"])
def test_sequences_without_windows(form):
    layer, x = make_layer(**FORMS[form]), inputs(7)
    sens = random_sens()[:7]
    expected = reference_of(layer, FORMS[form])(x, [3, 7])
    for lengths in ([3, 7], Tensor([3, 7], ms.int64)):
        np.testing.assert_allclose(layer(Tensor(x), lengths).asnumpy(), expected, rtol=1e-4, atol=1e-5)
        assert np.isfinite(results_and_gradients(layer, Tensor(x), lengths, sens)[1]).all()


REFUSED = {
    "x must have shape [T, 24] or [B, S, 24], got [57, 23]": (ValueError, (57, 23), ENDS, {}),
    "x must have shape [T, 24] or [B, S, 24], got [24]": (ValueError, (24,), None, {}),
    "actual_seq_len must end at T = 57, got 56": (RuntimeError, (57, 24), (3, 56), {}),
    "actual_seq_len must not decrease, got [9, 3, 57]": (RuntimeError, (57, 24), (9, 3, 57), {}),
    "actual_seq_len must hold ints, got 5.0": (TypeError, (57, 24), (5.0, 57), {}),
    "actual_seq_len must hold at least one length, got []": (ValueError, (57, 24), (), {}),
    "head_num must be a multiple of key_value_head_num = 2, got 5": (ValueError, None, None, {"head_num": 5}),
    "compress must be 'mean' or 'weighted' or 'linear', got 'max'": (ValueError, None, None, {"compress": "max"}),
    "compress_rope must be 'before' or 'after' or 'none', got 1": (ValueError, None, None, {"compress_rope": 1}),
    "rope_theta must be positive and finite, got 0": (ValueError, None, None, {"rope_theta": 0}),
    "key_head_dim must be even for rotary positions, got 11": (ValueError, None, None, {"key_head_dim": 11}),
    "gate_bias must be a bool, got 1": (TypeError, None, None, {"gate_bias": 1}),
    "gate_bias_init must be one float, 3, or [4, 3], got [1, 2]": (ValueError, None, None, {"gate_bias_init": [1, 2]}),
    "select_block_count must be at least init_blocks + local_blocks = 3, got 2": (
        ValueError, None, None, {"select_block_count": 2}),
    "compute_dtype must be mindspore.float16, bfloat16 or float32, got mindspore.int32": (
        TypeError, None, None, {"compute_dtype": ms.int32}),
    "key_head_dim must be from 1 to 2147483647, got 0": (ValueError, None, None, {"key_head_dim": 0}),
}  # fmt: skip


@pytest.mark.parametrize("sentence", REFUSED)
def test_wrong_arguments(sentence):
    error, shape, lengths, changes = REFUSED[sentence]
    with pytest.raises(error) as raised:
        layer = make_layer(**changes)
        layer(Tensor(np.ones(shape, np.float32)), lengths).asnumpy()
    assert str(raised.value).splitlines()[0] == f"NativeSparseAttention: {sentence}"


def test_wrong_lengths_as_a_tensor():
    with pytest.raises(RuntimeError, match="actual_seq_len must end at T2 = 57, got 50"):
        make_layer()(Tensor(inputs()), Tensor([3, 50], ms.int64)).asnumpy()
