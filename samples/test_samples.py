"""Runs every sample as a user does, small, and checks what it leaves behind."""

import json
import pathlib
import re
import struct
import subprocess
import sys

import mindspore as ms
import numpy as np
import pytest

SAMPLES = pathlib.Path(__file__).resolve().parent
SIZES = [
    *("--layers", "1", "--head-num", "6", "--key-value-head-num", "2", "--head-dim", "8", "--sequence", "120"),
    *("--select-block-size", "8", "--select-block-count", "5", "--local-blocks", "2"),
]
LONG_PROMPT = "The is operator compares what two names stand for, and no more than that. "

# Runs a sample after a change to the package, made by the first argument.
CHANGED = "import runpy, sys; exec(sys.argv.pop(1)); sys.argv.pop(0); runpy.run_path(sys.argv[0], run_name='__main__')"


def run(*command):
    result = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True)
    return result.returncode, result.stdout, result.stderr


def run_changed(change, sample, *arguments):
    change = f"sys.path.insert(0, {str(SAMPLES)!r})\n{change}"
    return run("-c", CHANGED, change, SAMPLES / sample, *arguments)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    arguments = ("--out", out, "--steps", 60, "--batch", 3, "--learning-rate", 1e-2, *SIZES)
    code, stdout, stderr = run(SAMPLES / "02_train_char_lm.py", *arguments)
    assert code == 0, stderr
    return out, stdout, stderr


def decode(out):
    prompts = ("--prompt", "A", LONG_PROMPT, "def f(", "--new-tokens", 40, "--page-block-size", 13)
    return ("--out", out, *prompts)


def test_quickstart_agrees_with_the_reference():
    code, stdout, stderr = run(SAMPLES / "01_quickstart.py")
    assert code == 0, stdout + stderr
    rows = [line.split(maxsplit=3) for line in stdout.splitlines()[1:-1]]
    examples = ("forward", "gradient", "decode", "decode_batch")
    assert [tuple(row[:2]) for row in rows] == [(name, mode) for name in examples for mode in ("PyNative", "Graph")]
    errors = [float(error) for row in rows for error in re.findall(r"\d\.\de[-+]\d+", row[3])]
    assert len(errors) == 2 * (3 + 3 + 1 + 1)
    assert all(0 < error < 2e-3 for error in errors)


def test_quickstart_fails_when_a_result_is_off():
    change = (
        "from ms_nsa import reference; right = reference.selected_attention_infer\n"
        "reference.selected_attention_infer = lambda *arguments: 1.01 * right(*arguments)"
    )
    code, stdout, _ = run_changed(change, "01_quickstart.py")
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
    code, stdout, stderr = run(SAMPLES / "03_paged_decode.py", *decode(trained[0]))
    assert code == 0, stdout + stderr
    pieces = stdout.split("--- ")
    assert [piece.split(" goes on:")[0] for piece in pieces[1:4]] == [repr("A"), repr(LONG_PROMPT), repr("def f(")]
    difference = float(re.search(r"largest difference (\S+)", stdout).group(1))
    assert 0 < difference < 1e-4
    assert re.search(r"(100\.00|99\.\d\d)% the same", stdout)
    assert "paged decoding equals training" in stdout


@pytest.mark.parametrize("change", ["scale", "choice"])
def test_paged_decoding_fails_when_it_differs_from_training(trained, change):
    changes = {
        "scale": (
            "import functools, ms_nsa\n"
            "ms_nsa.NsaSelectedAttentionInfer = functools.partial(ms_nsa.NsaSelectedAttentionInfer, scale_value=0.2)"
        ),
        "choice": ("import char_lm\nchar_lm.block_means = lambda key, size: char_lm.ops.zeros_like(key[:, ::size])"),
    }
    code, stdout, _ = run_changed(changes[change], "03_paged_decode.py", *decode(trained[0]))
    assert code == 1
    assert "paged decoding DIFFERS from training" in stdout


def test_paged_decoding_names_the_longest_text(trained):
    code, _, stderr = run(SAMPLES / "03_paged_decode.py", "--out", trained[0], "--prompt", "abc", "--new-tokens", 118)
    assert code == 1
    assert "--new-tokens must be at most 117" in stderr
