"""Reads op_info: one JSON file an operator, the single source of names, order, dtypes and limits."""

import functools
import json
import pathlib

_PACKAGE = pathlib.Path(__file__).resolve().parent
_FOLDERS = (_PACKAGE / "op_info", _PACKAGE.parent / "op_info")  # installed, source tree


@functools.cache
def load(operator):
    """The op_info of `operator` as a dict; not to be changed by the caller."""
    for folder in _FOLDERS:
        path = folder / f"{operator}.json"
        if path.is_file():
            return json.loads(path.read_text(encoding="utf-8"))
    raise RuntimeError(f"ms_nsa: op_info/{operator}.json must exist, got no such file in {_FOLDERS[0]}")
