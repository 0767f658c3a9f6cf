# SPDX-License-Identifier: Apache-2.0
"""Runs every sample as a user does, small, and checks what it leaves behind."""

import json
import os
import pathlib
import re
import struct

import mindspore as ms
import numpy as np
import pytest

import ms_nsa
from builds import one_builder
from children import run_python

SAMPLES = pathlib.Path(__file__).resolve().parent
INSTALLED = str(pathlib.Path(ms_nsa.__file__).parents[1])
SIZES = [
    *("--layers", "1", "--head-num", "6", "--key-value-head-num", "2", "--head-dim", "8", "--sequence", "120"),
    *("--select-block-size", "8", "--select-block-count", "5", "--local-blocks", "2"),
    *("--compress-block-size", "6", "--compress-stride", "3", "--window-size", "20"),
]
LONG_PROMPT = "The is operator compares what two names stand for, and no more than that. "

# Runs the sample named by the second argument after importing change.py from the folder named by the first.
CHANGED = """
import runpy, sys
sys.path[:0] = [sys.argv.pop(1), {samples!r}]
import change
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run(*command):
    result = run_python(*command, PYTHONPATH=INSTALLED)
    return result.returncode, result.stdout, result.stderr


def run_changed(folder, change, sample, *arguments):
    (folder / "change.py").write_text(change)
    return run("-c", CHANGED.format(samples=str(SAMPLES)), folder, SAMPLES / sample, *arguments)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """What training left and said; one of the processes that share the tests trains for all."""
    base = tmp_path_factory.getbasetemp()
    out = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "trained"
    arguments = ("--out", out, "--steps", 60, "--batch", 3, "--learning-rate", 1e-2, *SIZES)
    with one_builder(out):
        if not (out / "said.json").exists():
            out.mkdir(exist_ok=True)
            done = run(SAMPLES / "02_train_char_lm.py", *arguments)
            (out / "said.json").write_text(json.dumps(done))
    code, stdout, stderr = json.loads((out / "said.json").read_text())
    assert code == 0, stderr
    return out, stdout, stderr


def decode(out, *prompts, new_tokens):
    sizes = ("--new-tokens", new_tokens, "--page-block-size", 13)
    return ("--out", out, "--prompt", *prompts, "--temperature", 1, *sizes)


def test_quickstart_agrees_with_the_reference():
    code, stdout, stderr = run(SAMPLES / "01_quickstart.py")
    assert code == 0, stdout + stderr
    rows = [line.split(maxsplit=3) for line in stdout.splitlines()[1:-1]]
    examples = ("forward", "gradient", "decode", "decode_batch")
    assert [tuple(row[:2]) for row in rows] == [(name, mode) for name in examples for mode in ("PyNative", "Graph")]
    errors = [float(error) for row in rows for error in re.findall(r"\d\.\de[-+]\d+", row[3])]
    assert len(errors) == 2 * (3 + 3 + 1 + 1)
    assert all(0 < error < 2e-3 for error in errors)


@pytest.mark.slow
def test_quickstart_fails_when_a_result_is_off(tmp_path):
    change = """
from ms_nsa import reference
right = reference.selected_attention_infer
reference.selected_attention_infer = lambda *arguments: 1.01 * right(*arguments)
"""
    code, stdout, _ = run_changed(tmp_path, change, "01_quickstart.py")
    assert code == 1
    assert "4 of 8" in stdout


def test_training_learns_alike_sparse_and_dense(trained):
    _, stdout, stderr = trained
    rows = [line.split() for line in stdout.splitlines() if line.startswith(("sparse ", "dense "))]
    (_, sparse, sparse_held_out, _), (_, dense, dense_held_out, _) = [[name, *map(float, row)] for name, *row in rows]
    uniform = np.log(256)
    assert max(sparse, dense, sparse_held_out, dense_held_out) < uniform - 2
    assert abs(sparse - dense) < 0.1
    assert "60/60" in stderr


def test_training_saves_the_weights_and_the_picture(trained):
    out, _, _ = trained
    weights = ms.load_checkpoint(str(out / "char_lm.ckpt"))
    sizes = json.loads((out / "char_lm.json").read_text())
    assert weights["embedding.embedding_table"].shape == (256, sizes["head_num"] * sizes["head_dim"])
    assert all(np.isfinite(weight.asnumpy()).all() for weight in weights.values())
    picture = (out / "loss.png").read_bytes()
    width, height = struct.unpack(">II", picture[16:24])
    assert picture.startswith(b"\x89PNG\r\n\x1a\n") and width > 400 and height > 200


def test_paged_decoding_generates_text_and_agrees_with_training(trained):
    code, stdout, stderr = run(
        SAMPLES / "03_paged_decode.py", *decode(trained[0], "A", LONG_PROMPT, "def f(", new_tokens=30)
    )
    assert code == 0, stdout + stderr
    pieces = stdout.split("--- ")
    assert [piece.split(" goes on:")[0] for piece in pieces[1:4]] == [repr("A"), repr(LONG_PROMPT), repr("def f(")]
    difference = float(re.search(r"largest difference (\S+)", stdout).group(1))
    assert 0 < difference < 1e-4
    assert re.search(r"(100\.00|99\.\d\d)% the same", stdout)
    generated = [piece.split(" goes on:\n")[1].rstrip("\n") for piece in pieces[1:4]]
    assert all(15 < len(text) <= 30 for text in generated) and len(set(generated)) == 3
    assert "paged decoding equals training" in stdout


WRONG = """
import functools, ms_nsa
ms_nsa.NativeSparseAttentionInfer = functools.partial(ms_nsa.NativeSparseAttentionInfer, {})
"""
WRONG_SCALE, WRONG_CHOICE = WRONG.format("scale_value=0.2"), WRONG.format("init_blocks=0")


@pytest.mark.slow
@pytest.mark.parametrize("change", [WRONG_SCALE, WRONG_CHOICE], ids=["scale", "choice"])
def test_paged_decoding_fails_when_it_differs_from_training(trained, tmp_path, change):
    arguments = decode(trained[0], LONG_PROMPT, new_tokens=3)
    code, stdout, stderr = run_changed(tmp_path, change, "03_paged_decode.py", *arguments)
    assert code == 1
    assert "paged decoding DIFFERS from training" in stdout, stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--prompt", "abc", "--new-tokens", 118), "--new-tokens must be at most 117"),
        (("--prompt", ""), "--prompt must not be empty"),
        (("--out", "nowhere"), "char_lm.json must exist: run samples/02_train_char_lm.py first"),
    ],
)
def test_paged_decoding_names_wrong_arguments(trained, arguments, message):
    code, _, stderr = run(SAMPLES / "03_paged_decode.py", "--out", trained[0], *arguments)
    assert code == 1
    assert message in stderr


@pytest.mark.slow
def test_sparse_attention_recalls_what_a_window_forgets(tmp_path):
    arguments = ("--out", tmp_path, "--test-lengths", 1024, 4096)
    code, stdout, stderr = run(SAMPLES / "05_long_context.py", *arguments)
    assert code == 0, stdout + stderr
    row = re.compile(r"^(sparse|dense|window) +(\d+) +([\d.]+)% +([\d.]+)% +[\d.]+$", flags=re.MULTILINE)
    within, beyond = {}, {}
    for name, tokens, near, far in row.findall(stdout):
        within[name, tokens], beyond[name, tokens] = float(near), float(far)
    assert len(beyond) == 6 and min(within.values()) > 95
    assert min(value for (name, _), value in beyond.items() if name != "window") > 90
    assert max(beyond["window", "1024"], beyond["window", "4096"]) < 10
    assert "150/150" in stderr and (tmp_path / "long_context.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_recall_fails_without_training(tmp_path):
    short = ("--train-lengths", 256, "--steps", 1, "--test-lengths", 256, "--test-sequences", 1, "--pynative")
    code, stdout, stderr = run(SAMPLES / "05_long_context.py", "--out", tmp_path, *short)
    assert code == 1 and "NOT as it should be" in stdout, stderr


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path):
    processes = ("--worker_num=2", "--local_worker_num=2", f"--log_dir={tmp_path}", "--join=True")
    port = ("--master_port", 10000 + os.getpid() % 20000)
    code, stdout, stderr = run("-m", "mindspore.parallel.cluster.run", *processes, *port, SAMPLES / "06_distributed.py")
    assert code == 0, stdout + stderr
    for number in (0, 1):
        lines = (tmp_path / f"worker_{number}.log").read_text(errors="replace").splitlines()
        said = [line for line in lines if line.startswith("process ")]
        assert len(said) == 4, lines
        assert "data_parallel equals one process, gradients included, bit for bit" in said[0]


def check_device(folder, *arguments):
    small = ("--tokens", "96", "--sequences", "2", "--kv-length", "200", "--repeats", "2")
    cases = ("--every", "25", "--graph-every", "99", "--random", "1", "--dtypes", "float16")
    return ("--device-target", "CPU", "--report", folder / "report.md", *cases, *small, *arguments)


def test_device_check_writes_a_report(tmp_path):
    code, stdout, stderr = run(SAMPLES / "04_check_device.py", *check_device(tmp_path, "--dtypes", "bfloat16"))
    assert code == 0, stdout + stderr
    report = (tmp_path / "report.md").read_text()
    assert report.splitlines() == stdout.splitlines()[:-1]
    assert report.splitlines()[-1] == "everything agrees with the reference"
    rows = [line.strip("| ").split(" | ") for line in report.splitlines() if line.startswith("| ")]
    errors = {row[0]: float(row[1]) for row in rows if re.fullmatch(r"\d\.\d\de[-+]\d\d", row[1])}
    assert set(errors) == {"attention_out", "softmax_max", "softmax_sum", "dq", "dk", "dv"}
    assert all(0 < error < 6e-3 for error in errors.values())
    assert [row[0] for row in rows if "D 192/128" in row[-1] or "pages of 128" in row[-1]] == [
        "forward", "gradient", "compression", "compressed attention", "window", "decode"
    ]  # fmt: skip
    op_info = (SAMPLES.parent / "op_info").glob("*.json")
    on_ascend = {path.stem for path in op_info if '"ascend_name"' in path.read_text()}
    others = {row[0] for row in rows if row[0].startswith("Nsa")}
    assert others == on_ascend - {"NsaSelectAttention", "NsaSelectAttentionGrad", "NsaSelectedAttentionInfer"}
    assert "bfloat16: five runs are bitwise the same" in report
    for kind in ("NsaSelectAttention", "NsaSelectedAttentionInfer"):
        assert f"bfloat16: {kind} names an index out of range" in report


def test_device_check_fails_when_a_result_is_off(tmp_path):
    change = """
from ms_nsa import reference
right = reference.selected_attention_infer
reference.selected_attention_infer = lambda *arguments, **names: 1.01 * right(*arguments, **names)
"""
    code, stdout, _ = run_changed(tmp_path, change, "04_check_device.py", *map(str, check_device(tmp_path)))
    assert code == 1
    assert re.search(r"FAILED paged_\w+, float16, pynative: AssertionError: attention_out has ", stdout)
    assert not re.search(r"FAILED select", stdout)
    assert re.search(r"^\d failures$", stdout, flags=re.MULTILINE)
