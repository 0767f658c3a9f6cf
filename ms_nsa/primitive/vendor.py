# SPDX-License-Identifier: Apache-2.0
"""The vendor package with the Ascend kernels: whether this installation has one, and whether it fits this machine.

CANN finds it through ASCEND_CUSTOM_OPP_PATH, which :func:`activate` extends.
"""

import os
import pathlib

import mindspore as ms
from mindspore._c_expression import MSContext

NAME = "ms_nsa"
_FOLDER = pathlib.Path(__file__).resolve().parents[1] / "vendors" / NAME  # as CANN's installer lays it out
_VERSION, _CHIPS = "version.info", "op_impl/ai_core/tbe/config"
_SEARCH_PATH = "ASCEND_CUSTOM_OPP_PATH"


def folder():
    """Path of the vendor package inside this installation, or None."""
    return _FOLDER if (_FOLDER / _VERSION).is_file() and (_FOLDER / _CHIPS).is_dir() else None


def chips():
    """Names of the chips that the package holds kernels for, as CANN names them."""
    return sorted(path.name for path in (_FOLDER / _CHIPS).iterdir())


def built_with():
    """Version of the CANN that compiled the package."""
    return _version(_FOLDER / _VERSION, "custom_opp_compiler_version=")


def installed_cann():
    """Version of the CANN in use, or None if ASCEND_HOME_PATH does not point to one."""
    home = os.environ.get("ASCEND_HOME_PATH")
    path = pathlib.Path(home or "", "compiler", "version.info")
    return _version(path, "Version=") if home and path.is_file() else None


def chip():
    """Name of this machine's chip; empty on a machine without an NPU."""
    return MSContext.get_instance().get_ascend_soc_version()


def problem():
    """Why the kernels cannot run here, as an error message, or None."""
    if folder() is None:
        rule = "hold Ascend kernels: install it from source where ASCEND_HOME_PATH names CANN"
        return f"ms_nsa: the installation must {rule}, got none in {_FOLDER}"
    if installed_cann() is None:
        got = os.environ.get("ASCEND_HOME_PATH", "nothing")
        return f"ms_nsa: ASCEND_HOME_PATH must name CANN's folder (source its set_env.sh), got {got}"
    if _release(installed_cann()) != _release(built_with()):
        rule = f"be {_release(built_with())}, which compiled the Ascend kernels; install ms_nsa anew otherwise"
        return f"ms_nsa: CANN must {rule}, got {installed_cann()}"
    if chip() not in chips():
        return f"ms_nsa: the chip must be {' or '.join(chips())}, got {chip() or 'none'}"
    return None


def activate():
    """Puts the package first on CANN's search path.

    Returns:
        str, what is wrong, or None.
    """
    wrong = problem()
    if wrong is None:
        listed = [path for path in os.environ.get(_SEARCH_PATH, "").split(":") if path]
        if str(_FOLDER) not in listed:
            os.environ[_SEARCH_PATH] = ":".join([str(_FOLDER), *listed])
    return wrong


def wanted():
    """True if the package exists and MindSpore's device_target is Ascend."""
    return folder() is not None and ms.get_context("device_target") == "Ascend"


def _version(path, key):
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith(key):
            return line[len(key) :].strip()
    raise RuntimeError(f"ms_nsa: {path} must hold a line {key}..., got none")


def _release(version):
    return ".".join(version.split(".")[:2])
