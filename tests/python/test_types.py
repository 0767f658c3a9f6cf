# SPDX-License-Identifier: Apache-2.0
"""The stub with the types of the public names has the signatures of what it describes."""

import __future__

import inspect
import pathlib

import pytest

import ms_nsa

STUB = pathlib.Path(ms_nsa.__file__).with_suffix(".pyi")


def described():
    names = {"__name__": "ms_nsa"}
    flags = __future__.annotations.compiler_flag
    exec(compile(STUB.read_text(encoding="utf-8"), str(STUB), "exec", flags), names)
    return names


def parameters(function):
    found = inspect.signature(function).parameters.values()
    return [(parameter.name, parameter.kind, parameter.default) for parameter in found]


def test_every_public_name_has_types():
    names = {name for name, value in described().items() if getattr(value, "__module__", None) == "ms_nsa"}
    assert names == set(ms_nsa.__all__)
    assert STUB.with_name("py.typed").is_file()


@pytest.mark.parametrize("name", ms_nsa.__all__)
def test_signatures_agree(name):
    stub, real = described()[name], getattr(ms_nsa, name)
    if not inspect.isclass(real):
        assert parameters(stub) == parameters(real)
        return
    assert parameters(stub.__init__) == parameters(real.__init__)
    assert parameters(stub.__call__) == parameters(real.construct)
