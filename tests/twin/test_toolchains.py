"""The twin's own tests with the other compiler and with sanitizers."""

import pathlib

import pytest

from twin import toolchains

HERE = str(pathlib.Path(__file__).resolve().parent)


@pytest.mark.slow
def test_clang():
    toolchains.run_tests(HERE, TWIN_CXX="clang++")


@pytest.mark.slow
def test_sanitizers():
    toolchains.run_tests(HERE, **toolchains.sanitized("g++"))
