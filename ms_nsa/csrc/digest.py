# SPDX-License-Identifier: Apache-2.0
"""The digest of what the CPU library is built from. The build leaves it beside the library, and a test compares it with
the tree's: after an edit, tests that compile the sources and tests that load the library would not test the same."""

import hashlib
import pathlib

FILE = "sources.sha256"  # beside the library
_SUFFIXES = {".cpp", ".h", ".json", ".py", ".txt"}


def of_tree(root):
    """Of a source tree: names and contents."""
    root, digest = pathlib.Path(root), hashlib.sha256()
    folders = root / "ms_nsa" / "csrc", root / "op_info"
    files = (path for folder in folders for path in folder.rglob("*") if path.suffix in _SUFFIXES)
    for path in sorted(files, key=lambda path: path.relative_to(root).as_posix()):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()
