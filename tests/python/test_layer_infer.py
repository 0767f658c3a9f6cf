# SPDX-License-Identifier: Apache-2.0
"""The layer over pages: equal to training whatever the steps, and refused calls change nothing."""

import re

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn
from test_layer import inputs, make_layer

import children
import ms_nsa
from support import readme_tables
from support.run_cells import run_mode

PAGE = 8


def make_pair(cache_layout="BNSD", pages=30, compressed_pages=6, **form):
    """A training layer, and one over pages that its checkpoint was loaded into."""
    trained = make_layer(**form)
    dtype = form.get("compute_dtype", ms.float32)
    independent = form.get("independent_kv", False)
    cache = ms_nsa.NsaCache(pages, compressed_pages, PAGE, 2, 12, 8, dtype, cache_layout, independent)
    cache._free[0][:] = np.random.default_rng(5).permutation(pages).tolist()
    infer = make_layer(ms_nsa.NativeSparseAttentionInfer, 1, cache=cache, **form)
    missing, _ = ms.load_param_into_net(infer, trained.parameters_dict())
    assert all(name.startswith("cache.") for name in missing)
    return trained, infer


def decode(infer, sequences, steps, as_lengths=tuple):
    """Feeds sequences in steps, a list of the numbers of new tokens of every sequence; returns all outputs."""
    done, outputs = [0] * len(sequences), [[] for _ in sequences]
    for step in steps:
        new = [x[at : at + count] for x, at, count in zip(sequences, done, step)]
        done = [at + count for at, count in zip(done, step)]
        for number, length in enumerate(done):
            infer.cache.extend(number, length)
        tables = infer.cache.block_tables(range(len(sequences)), 9, 4)
        out = (
            infer(Tensor(np.concatenate(new)), *tables, as_lengths(step), as_lengths(done)).astype(ms.float32).asnumpy()
        )
        for number, rows in enumerate(np.split(out, np.cumsum(step)[:-1])):
            outputs[number].append(rows)
    return [np.concatenate(rows) for rows in outputs]


STEPS = [(20, 1), (1, 1), (1, 30), (17, 0), (1, 1), (5, 1), (1, 1)]
FORMS = {
    "weighted after": {},
    "mean before": {"compress": "mean", "compress_rope": "before", "cache_layout": "BSND"},
    "linear none": {"compress": "linear", "compress_rope": "none"},
    "independent": {"independent_kv": True, "has_bias": True, "cache_layout": "BSND"},
    "bfloat16": {"compute_dtype": ms.bfloat16},
}


@pytest.mark.parametrize("form", FORMS)
def test_decoding_equals_training(form):
    trained, infer = make_pair(**FORMS[form])
    sequences = [inputs(sum(step[number] for step in STEPS), number) for number in (0, 1)]
    tolerance = 2e-2 if form == "bfloat16" else 1e-5
    found = decode(infer, sequences, STEPS)
    for x, rows in zip(sequences, found):
        np.testing.assert_allclose(rows, trained(Tensor(x)).asnumpy(), rtol=tolerance, atol=tolerance)


def test_one_graph_decodes_in_steps_of_any_size():
    """In bfloat16, which few of MindSpore's operators have on the CPU, compiled once."""
    _, infer = make_pair(compute_dtype=ms.bfloat16)
    sequences = [inputs(sum(step[number] for step in STEPS), number) for number in (0, 1)]
    expected = decode(infer, sequences, STEPS)
    infer.set_inputs(
        Tensor(shape=[None, 24], dtype=ms.float32),
        *(Tensor(shape=[None, None], dtype=ms.int32) for _ in range(2)),
        *(Tensor(shape=[None], dtype=ms.int64) for _ in range(2)),
    )
    with run_mode("graph"):
        found = decode(infer, sequences, STEPS, as_lengths=Tensor)
    for ours, theirs in zip(found, expected):
        np.testing.assert_allclose(ours, theirs, rtol=2e-2, atol=2e-2)


def test_batches_with_padding():
    """[B, S, hidden]: what lies beyond a sequence's new tokens changes no bit, and neither does the cache's layout."""
    _, infer = make_pair()
    _, other = make_pair(cache_layout="BSND")
    x = np.stack([inputs(20, number) for number in (0, 1)])
    expected = decode(infer, [x[0, :20], x[1, :9]], [(20, 9)])
    x[1, 9:] = np.nan
    for number, length in enumerate((20, 9)):
        other.cache.extend(number, length)
    found = other(Tensor(x), *other.cache.block_tables([0, 1]), (20, 9), [20, 9]).asnumpy()
    assert found[0].tobytes() == expected[0].tobytes() and found[1, :9].tobytes() == expected[1].tobytes()


def test_exported_models_decode(tmp_path):
    trained, infer = make_pair()
    x = inputs(24)
    decode(infer, [x[:20]], [(20,)])
    infer.cache.extend(0, 24)
    tables = infer.cache.block_tables([0])
    lengths = Tensor([1], ms.int64), Tensor([21], ms.int64)
    with run_mode("graph"):
        arguments = (Tensor(x[20:21]), *tables, *lengths)
        ms.export(infer, *arguments, file_name=str(tmp_path / "model"), file_format="MINDIR")
        loaded = nn.GraphCell(ms.load(str(tmp_path / "model.mindir")))
        found = [
            loaded(Tensor(x[at : at + 1]), *tables, lengths[0], Tensor([at + 1], ms.int64)).asnumpy()
            for at in range(20, 24)
        ]
    np.testing.assert_allclose(np.concatenate(found), trained(Tensor(x)).asnumpy()[20:], rtol=1e-5, atol=1e-5)


def test_rejected_drafts_are_written_over():
    trained, infer = make_pair()
    x = inputs(30)
    decode(infer, [np.concatenate([x[:20], inputs(4, 7)])], [(20,), (4,)])  # the last four are wrong
    infer.cache.extend(0, 30)
    out = infer(Tensor(x[20:]), *infer.cache.block_tables([0]), (10,), (30,))
    np.testing.assert_allclose(out.asnumpy(), trained(Tensor(x)).asnumpy()[20:], rtol=1e-5, atol=1e-5)


REFUSED = {
    "NsaPageSlots: block_table must hold page ids from 0 to 29 where rows are written, got -1 at sequence 0, slot 2":
        {"length": 16},
    "NsaPageSlots: block_table must hold page ids from 0 to 29 where rows are written, got 30 at sequence 0, slot 2":
        {"page": 30},
    "NsaPageSlots: actual_seq_qlen must sum to T = 4, got 3": {"q_lens": (3,)},
    "NsaPageSlots: actual_seq_kvlen must be at least actual_seq_qlen = 4 at sequence 0, got 3": {"kv_lens": (3,)},
    "NsaPageSlots: block_table must have pages for 200 rows at sequence 0, got 9 pages of 8 rows": {"kv_lens": (200,)},
    "NsaPageSlots: actual_seq_kvlen must have one entry per sequence: B = 1, got 2": {"kv_lens": (24, 24)},
    "NativeSparseAttention: x must have shape [T, 24] or [B, S, 24], got [4, 20]": {"x": np.ones((4, 20), np.float32)},
}  # fmt: skip


@pytest.mark.parametrize("sentence", REFUSED)
def test_refused_calls_change_nothing(sentence):
    _, infer = make_pair()
    changes = REFUSED[sentence]
    decode(infer, [inputs(20)], [(20,)])
    infer.cache.extend(0, changes.get("length", 24))
    raw, compressed = infer.cache.block_tables([0], 9, 4)
    if "length" in changes or "page" in changes:
        table = raw.asnumpy()
        table[0, 2] = changes.get("page", -1)
        raw = Tensor(table)
    pages = infer.cache.parameters_dict()
    before = {name: value.asnumpy().copy() for name, value in pages.items()}
    x = Tensor(changes.get("x", inputs(4, 5)))
    with pytest.raises((ValueError, RuntimeError)) as raised:
        infer(x, raw, compressed, changes.get("q_lens", (4,)), changes.get("kv_lens", (24,))).asnumpy()
    assert sentence in str(raised.value)
    for name, value in pages.items():
        assert value.asnumpy().tobytes() == before[name].tobytes()


def test_exhausted_pages():
    cache = ms_nsa.NsaCache(4, 1, 8, 2, 12, 8, ms.float32)
    cache.extend("a", 20)
    before = cache.free_pages, cache.free_compressed_pages
    with pytest.raises(RuntimeError, match=r"NsaCache: num_pages must be at least 5 for 9 rows of sequence 'b', got 4"):
        cache.extend("b", 9)
    assert (cache.free_pages, cache.free_compressed_pages) == before == (1, 1)
    with pytest.raises(RuntimeError, match="NsaCache: num_compressed_pages must be at least 2"):
        ms_nsa.NsaCache(99, 1, 8, 2, 12, 8, ms.float32).extend("b", 32 + 8 * 16)
    cache.release("a")
    assert cache.free_pages == 4
    with pytest.raises(KeyError, match="NsaCache: sequence must be one that extend was told of, got 'a'"):
        cache.release("a")


@pytest.mark.parametrize("change", [{"key_head_dim": 14}, {"compute_dtype": ms.float16}, {"independent_kv": True}])
def test_a_cache_that_does_not_fit(change):
    cache = ms_nsa.NsaCache(4, 1, 8, 2, 12, 8, ms.float32)
    with pytest.raises(ValueError, match="NativeSparseAttention: cache must have "):
        make_layer(ms_nsa.NativeSparseAttentionInfer, cache=cache, **change)
    with pytest.raises(TypeError, match="NativeSparseAttention: cache must be an NsaCache, got 'NoneType'"):
        make_layer(ms_nsa.NativeSparseAttentionInfer)


ONE_STEP = """
import mindspore as ms
import numpy as np
import ms_nsa
ms.set_context(mode=ms.GRAPH_MODE)
cache = ms_nsa.NsaCache(8, 2, 64, 1, 16, 16, ms.float32)
layer = ms_nsa.NativeSparseAttentionInfer(32, 2, 1, 16, cache=cache)
cache.extend("a", 150)
lengths = ms.Tensor([1], ms.int64), ms.Tensor([150], ms.int64)
layer(ms.Tensor(np.ones((1, 32), np.float32)), *cache.block_tables(["a"]), *lengths).asnumpy()
"""
NO_KERNELS = {"Load", "UpdateState", "Depend", "MakeTuple", "TupleGetItem", "Reshape"}


def test_calls_of_a_step(tmp_path):
    """As many as the README says, in the last graph that MindSpore writes down before it runs."""
    saving = {"MS_DEV_SAVE_GRAPHS": "2", "MS_DEV_SAVE_GRAPHS_PATH": str(tmp_path)}
    done = children.run_python("-c", ONE_STEP, timeout=300, **saving)
    assert done.returncode == 0, done.stderr
    (graph,) = tmp_path.rglob("graph_build_*.ir")
    names = re.findall(r"^\s*%\d+\(.*?\) = (?:PrimFunc_)?(\w+)\(", graph.read_text(), flags=re.MULTILINE)
    calls = [name for name in names if name not in NO_KERNELS]
    of_package, all_calls = calls.count("Custom"), len(calls)
    said = f"is {all_calls} calls of kernels: {of_package} of this package and {all_calls - of_package} small ones"
    assert said in (readme_tables.ROOT / "README.md").read_text(encoding="utf-8")
