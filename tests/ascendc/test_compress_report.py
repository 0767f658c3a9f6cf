# SPDX-License-Identifier: Apache-2.0
"""With debugging the kernels of compression name what they cannot raise, in the words of the CPU's operators."""

import mindspore as ms
import numpy as np
import pytest

import ms_nsa
from ascendc import compress
from ms_nsa.primitive import first_error

INPUT = np.ones((150, 2, 16), np.float16)
LENGTHS = [(-5, 150), (100, 60, 150), (100, 149), (40, 151)]


def of_cpu(call):
    with pytest.raises(RuntimeError) as raised:
        for each in call():
            each.asnumpy()
    return f"{raised.value}\n"


def tensors(*arrays):
    return [None if array is None else ms.Tensor(np.asarray(array)) for array in arrays]


@pytest.mark.parametrize("ends", LENGTHS)
def test_lengths(ends):
    launched = compress.run_compress(INPUT, None, 32, 16, ends, debug=True)[-1]
    found = first_error.sentence("NsaCompress", launched.first_error)
    cell, arguments = ms_nsa.NsaCompress(32, 16), tensors(INPUT, None, ends)
    assert f"{found}\n" in of_cpu(lambda: [cell(*arguments)])
    grad = np.ones((9, 2, 16), np.float16)
    launched = compress.run_compress_grad(grad, INPUT, None, 32, 16, ends, debug=True)[-1]
    assert first_error.sentence("NsaCompressGrad", launched.first_error) == found.replace(
        "NsaCompress", "NsaCompressGrad"
    )


def test_rows_for_the_windows():
    launched = compress.run_compress(INPUT, None, 32, 16, (70, 150), windows=6, debug=True)[-1]
    found = first_error.sentence("NsaCompress", launched.first_error)
    assert found == "NsaCompress: row_template must have at least 7 rows, got 6"
    grad = np.ones((6, 2, 16), np.float16)
    launched = compress.run_compress_grad(grad, INPUT, None, 32, 16, (70, 150), debug=True)[-1]
    found = first_error.sentence("NsaCompressGrad", launched.first_error)
    assert found == "NsaCompressGrad: grad must have at least 7 rows, got 6"


@pytest.mark.parametrize(
    "lens, q_lens, page",
    [([130, 9], [1, 1], 1), ([-1, 9], [1, 1], 1), ([64, 9], [-2, 1], 1), ([96, 9], [17, 1], 1), ([48, 9], [1, 1], 7)],
)
def test_paged(lens, q_lens, page):
    cache, slots = np.ones((3, 32, 2, 16), np.float16), np.array([[5], [-1]], np.int32)
    table = np.array([[1, page, 0, 0], [2, 9, 9, 9]], np.int32)
    launched = compress.run_compress_infer(cache, None, slots, 32, 16, 32, table, lens, q_lens, debug=True)[-1]
    found = first_error.sentence("NsaCompressInfer", launched.first_error)
    rows = tensors(cache, None, slots, table, np.array(lens), np.array(q_lens))
    cell = ms_nsa.NsaCompressInfer(32, 16, 32)
    message = of_cpu(lambda: cell(rows[0], None, *rows[2:]))
    assert f"{found}\n" in message


def test_nothing_is_wrong():
    launched = compress.run_compress(INPUT, None, 32, 16, (0, 150), debug=True)[-1]
    assert first_error.sentence("NsaCompress", launched.first_error) is None
