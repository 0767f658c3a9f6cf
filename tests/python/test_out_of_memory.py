# SPDX-License-Identifier: Apache-2.0
"""A kernel that gets no scratch memory says which operator wanted how much, and the process lives on."""

import re

from support import fingerprints

# The second call of the same shape, whose tensors MindSpore's pool has, runs in an address space without room for the
# kernel's float32 sums; the third one runs without the limit.
SCRIPT = """
import re, resource
import mindspore as ms, numpy as np, ms_nsa

def zeros(*shape):
    return ms.Tensor(np.zeros(shape, np.float32))

rows = 2_000_000
small, large = zeros(4, 1, 8), zeros(rows, 1, 8)
cell = ms_nsa.NsaSelectAttentionGrad(1, None, 64, 1)
inputs = small, small, large, large, small, small, small, ms.Tensor(np.zeros((4, 1, 1), np.int32))

def run():
    return [result.asnumpy().sum() for result in cell(*inputs)]

run()
size = 1024 * int(re.search(r"VmSize:\\s+(\\d+)", open("/proc/self/status").read()).group(1))
limits = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (size + 40 * 2**20, limits[1]))
try:
    run()
except RuntimeError as error:
    print(str(error).splitlines()[0])
resource.setrlimit(resource.RLIMIT_AS, limits)
print(run())
"""


def test_out_of_memory():
    done = fingerprints.run_python("-c", SCRIPT)
    said, *_, after = done.stdout.splitlines()
    found = re.search(r"NsaSelectAttentionGrad: scratch memory must hold (\d+) bytes, got none: out of memory", said)
    assert found and int(found[1]) >= 2 * 4 * 8 * 2_000_000
    assert after == "[0.0, 0.0, 0.0]"
