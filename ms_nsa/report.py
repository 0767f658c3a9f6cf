# SPDX-License-Identifier: Apache-2.0
"""The environment report that ``python -m ms_nsa`` prints."""

import os
import platform

from ms_nsa import native
from ms_nsa.primitive import vendor


def _ascend_rows():
    if vendor.folder() is None:
        return [("ascend package", "not in this installation")]
    wrong = vendor.problem()
    return [
        ("ascend package", f"for {' and '.join(vendor.chips())}, built with CANN {vendor.built_with()}"),
        ("cann", vendor.installed_cann() or "not found"),
        ("ascend kernels", wrong or f"fit this machine ({vendor.chip()})"),
        ("MS_NSA_DEBUG", os.environ.get("MS_NSA_DEBUG", "not set")),
    ]


def report():
    """The environment report as (name, value) pairs."""
    import mindspore
    import ml_dtypes
    import numpy

    import ms_nsa

    return [
        ("ms_nsa", ms_nsa.__version__),
        ("mindspore", mindspore.__version__),
        ("numpy", numpy.__version__),
        ("ml_dtypes", ml_dtypes.__version__),
        ("python", platform.python_version()),
        ("machine", platform.machine()),
        ("library", native.library_path().name),
        ("isa", f"{native.current_isa()} (this machine runs {', '.join(native.supported_isas())})"),
        ("MS_NSA_ISA", os.environ.get("MS_NSA_ISA", "not set")),
        ("threads", native.threads_described()),
        *_ascend_rows(),
    ]


def main():
    """Prints the environment report."""
    for name, value in report():
        print(f"{name:<15} {value}")
    return 0
