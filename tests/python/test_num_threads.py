# SPDX-License-Identifier: Apache-2.0
"""How many threads kernels use, what the environment report says of it, and what child processes make of it."""

import os

import pytest

import ms_nsa
from children import run_python
from ms_nsa import native
from ms_nsa.threads import described

PROCESSORS = len(os.sched_getaffinity(0))
# MindSpore sets OMP_NUM_THREADS to 1 for its children, if only in C; the last child is one of multiprocessing.
FAMILY = """
import multiprocessing, subprocess, sys
import ms_nsa
from ms_nsa import native

def show(who):
    print(who, native.threads_described(), flush=True)

if __name__ == "__main__":
    show("parent")
    if len(sys.argv) > 1:
        ms_nsa.set_num_threads(int(sys.argv[1]))
        show("parent")
    subprocess.run([sys.executable, "-c", "from ms_nsa import native; print('child', native.threads_described())"])
    worker = multiprocessing.get_context("spawn").Process(target=show, args=("worker",))
    worker.start()
    worker.join()
"""
# Of a process without MindSpore, as one that runs an exported graph is without Python.
REPORT = """
import ctypes, sys
text = ctypes.create_string_buffer(200)
print(ctypes.CDLL(sys.argv[1]).MsNsaReport(text, 200), text.value.decode())
"""
USES = """
import os
import numpy as np, mindspore as ms, ms_nsa
rows = ms.Tensor(np.ones((4096, 1, 64), np.float32))
indices = ms.Tensor(np.zeros((4096, 1, 4), np.int32))
ms_nsa.NsaSelectAttention(1, None, 32, 4)(rows, rows, rows, indices)[0].asnumpy()  # MindSpore starts its threads
ms_nsa.set_num_threads(5)
before = len(os.listdir("/proc/self/task"))
from ms_nsa import native
import threading, time
most, done = 0, False
def look():
    global most
    while not done:
        most = max(most, len(os.listdir("/proc/self/task")))
watcher = threading.Thread(target=look)
watcher.start()
for _ in range(3):
    ms_nsa.NsaSelectAttention(1, None, 32, 4)(rows, rows, rows, indices)[0].asnumpy()
done = True
watcher.join()
print(most - before - 1)
"""


def family(tmp_path, *arguments, **variables):
    script = tmp_path / "family.py"
    script.write_text(FAMILY)
    variables = {"OMP_NUM_THREADS": None, "MS_NSA_NUM_THREADS": None, **variables}
    done = run_python(script, *arguments, **variables)
    assert done.returncode == 0, done.stderr
    return [tuple(line.split(" ", 1)) for line in done.stdout.splitlines()]


def test_children_get_what_the_user_gave(tmp_path):
    """Which is nothing, but MindSpore gives one thread."""
    assert family(tmp_path) == [(who, f"{PROCESSORS} (processors)") for who in ("parent", "child", "worker")]


def test_what_is_set_wins_and_is_inherited(tmp_path):
    found = family(tmp_path, "7", OMP_NUM_THREADS="3", MS_NSA_NUM_THREADS="5")
    assert [said for _, said in found[:2]] == ["5 (MS_NSA_NUM_THREADS)", "7 (ms_nsa.set_num_threads)"]
    assert found[2:] == [(who, "7 (MS_NSA_NUM_THREADS)") for who in ("child", "worker")]


def test_kernels_use_as_many_as_are_set():
    """Of libgomp's team of five, one is the thread that calls the kernel."""
    done = run_python("-c", USES, OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) == 4


@pytest.mark.parametrize("value", ["0", "1025", "-1", "2.0", "two", "99999999999999999999", " 2"])
def test_the_variable_must_be_a_number(value):
    done = run_python("-c", REPORT, native.library_path(), MS_NSA_NUM_THREADS=value)
    assert done.stdout == f"1 ms_nsa: MS_NSA_NUM_THREADS must be a number from 1 to 1024, got {value}\n"


def test_an_empty_variable_is_none():
    assert run_python("-c", REPORT, native.library_path(), MS_NSA_NUM_THREADS="").stdout.startswith("0 ")


@pytest.mark.parametrize(
    ("value", "error", "rule"),
    [
        (0, ValueError, "be from 1 to 1024"),
        (1025, ValueError, "be from 1 to 1024"),
        (2.0, TypeError, "be an int"),
        (True, TypeError, "be an int"),
        (None, TypeError, "be an int"),
    ],
)
def test_set_num_threads_refuses(value, error, rule):
    before = native.threads_described()
    with pytest.raises(error) as raised:
        ms_nsa.set_num_threads(value)
    assert str(raised.value) == f"set_num_threads: num_threads must {rule}, got {value!r}"
    assert native.threads_described() == before


def test_one_thread_on_a_larger_machine_is_warned_of(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("MS_NSA_GIVEN_OMP_NUM_THREADS", raising=False)
    warning = "WARNING: this process may use 8 processors: set MS_NSA_NUM_THREADS"
    assert described(1, "default", 8) == f"1 (OMP_NUM_THREADS); {warning}"
    assert described(1, "default", 1) == "1 (OMP_NUM_THREADS)"
    assert described(1, "set", 8) == f"1 (ms_nsa.set_num_threads); {warning}"


def test_one_openmp_runtime():
    """MindSpore's and the kernels' are one library, and so one set of threads. What clang compiles needs LLVM's."""
    script = "import ms_nsa; from ms_nsa import native; native.library(); print(open('/proc/self/maps').read())"
    maps = run_python("-c", script).stdout
    names = {line.split()[-1] for line in maps.splitlines() if "libgomp" in line or "libomp" in line}
    assert len(names) == 1 + (b"libomp.so" in native.library_path().read_bytes())
