# SPDX-License-Identifier: Apache-2.0
"""Build entry: compiles csrc to ms_nsa/lib and, where CANN is installed, ascendc to ms_nsa/vendors; op_info goes into
what is installed. Metadata is in pyproject.toml. CMAKE_ARGS is handed to CMake."""

import atexit
import os
import pathlib
import re
import runpy
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile

import setuptools

if int(setuptools.__version__.split(".")[0]) < 77:  # which knows the licence of pyproject.toml; pip installs one itself
    sys.exit(f"ms_nsa: setuptools must be 77.0.3 or later without build isolation, got {setuptools.__version__}")

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py
from setuptools.command.dist_info import dist_info

CMAKE_ARGS = shlex.split(os.environ.get("CMAKE_ARGS", ""))
MACHINES = {62: "x86_64", 183: "aarch64"}  # by their numbers in ELF


def writable(root):
    """The folder of the sources, or a copy for this run of one that may only be read."""
    if os.access(root, os.W_OK):
        return root
    folder = tempfile.mkdtemp(prefix="ms_nsa-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    copy = pathlib.Path(folder, "tree")
    shutil.copytree(root, copy, ignore=shutil.ignore_patterns(".git", "build", "*.egg-info"))
    for path, _, _ in os.walk(copy):
        os.chmod(path, 0o755)
    os.chdir(copy)
    return copy


ROOT = writable(pathlib.Path(__file__).resolve().parent)
PACKAGE = ROOT / "ms_nsa"


def require_tools():
    """Ends the installation in one sentence instead of CMake's many. pip asks for metadata before it downloads."""
    for tool in ("cmake", "ninja"):
        if shutil.which(tool) is None:
            sys.exit(f"ms_nsa: {tool} must be installed without build isolation, got none on PATH")
    given = shlex.split(os.environ.get("CXX", ""))
    compilers = given[:1] or ("c++", "g++", "clang++")
    if not any(shutil.which(name) for name in compilers) and not CMAKE_ARGS:
        sys.exit(f"ms_nsa: a C++17 compiler must be installed, got no {' or '.join(compilers)} on PATH")


def index_page():
    """The README without the links that lead nowhere outside of the repository, and without its pictures."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    text = re.sub(r"!\[[^\]]*\]\((?!https?:)[^)]*\)\n*", "", text)
    return re.sub(r"\[([^\]]*)\]\((?!https?:)[^)]*\)", r"\1", text)


def remove(folder):
    """Removes what an earlier build left; CANN's installer leaves folders that may not be written to."""
    for path, _, _ in os.walk(folder):
        os.chmod(path, 0o755)
    if folder.exists():
        shutil.rmtree(folder)


def build_cpu_library():
    """Compiles the CPU backend; a compiler error ends the installation with the compiler's message."""
    build = ROOT / "build" / "cpu"
    configure = [
        "cmake",
        "-S",
        str(PACKAGE / "csrc"),
        "-B",
        str(build),
        "-G",
        "Ninja",
        "-DCMAKE_BUILD_TYPE=Release",
        f"-DPython3_EXECUTABLE={sys.executable}",
    ]
    digest = runpy.run_path(str(PACKAGE / "csrc" / "digest.py"))
    sources = digest["of_tree"](ROOT)
    # A CMake cache of another installation names tools that may be gone.
    (build / "CMakeCache.txt").unlink(missing_ok=True)
    subprocess.run([*configure, *CMAKE_ARGS], check=True)
    subprocess.run(["cmake", "--build", str(build)], check=True)
    target = PACKAGE / "lib"
    remove(target)
    target.mkdir()
    shutil.copy2(build / "libms_nsa_cpu.so", target)
    (target / digest["FILE"]).write_text(sources + "\n", encoding="utf-8")


def build_ascend_package():
    """Compiles the Ascend kernels if ASCEND_HOME_PATH names CANN; a compiler error ends the installation likewise."""
    remove(PACKAGE / "vendors")  # of another installation
    if os.environ.get("ASCEND_HOME_PATH"):
        script = ROOT / "ascendc" / "build.sh"
        subprocess.run(["bash", str(script), str(PACKAGE)], check=True, env={"PYTHON": sys.executable, **os.environ})


class Metadata(dist_info):
    """Metadata for an installation, which is going to compile."""

    def run(self):
        require_tools()
        super().run()


class BuildPackage(build_py):
    """Builds the native libraries, then the package in a fresh folder, with op_info.

    The source tree has no copy of op_info in the package: it would hide what is edited there.
    """

    def run(self):
        require_tools()
        build_cpu_library()
        build_ascend_package()
        built = pathlib.Path(self.build_lib, "ms_nsa")
        for leftover in (built, PACKAGE / "op_info"):
            remove(leftover)
        super().run()
        if not self.editable_mode:
            shutil.copytree(ROOT / "op_info", built / "op_info")


def machine_of_library():
    """The processor that the built library is for: another than this machine's after cross-compilation."""
    header = (PACKAGE / "lib" / "libms_nsa_cpu.so").read_bytes()[:20]
    return MACHINES.get(struct.unpack_from("<H", header, 18)[0]) if header[:4] == b"\x7fELF" else None


class PlatformWheel(bdist_wheel):
    """One wheel for every Python of a platform: the library does not use Python's C interface."""

    def get_tag(self):
        platform, machine = super().get_tag()[2], machine_of_library()
        return "py3", "none", re.sub(r"(?<=_)(x86_64|aarch64)$", machine, platform) if machine else platform


class BinaryDistribution(Distribution):
    """Marks the wheel as one with compiled code."""

    def has_ext_modules(self):
        return True


setup(
    cmdclass={"build_py": BuildPackage, "bdist_wheel": PlatformWheel, "dist_info": Metadata},
    distclass=BinaryDistribution,
    long_description=index_page(),
    long_description_content_type="text/markdown",
)
