"""Build entry: compiles csrc to ms_nsa/lib and, where CANN is installed, ascendc to ms_nsa/vendors; op_info goes into
what is installed. Metadata is in pyproject.toml."""

import os
import pathlib
import shutil
import subprocess
import sys

import setuptools

if int(setuptools.__version__.split(".")[0]) < 77:  # which knows the licence of pyproject.toml; pip installs one itself
    sys.exit(f"ms_nsa: setuptools must be 77.0.3 or later without build isolation, got {setuptools.__version__}")

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

ROOT = pathlib.Path(__file__).resolve().parent
PACKAGE = ROOT / "ms_nsa"


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
    # A CMake cache of another installation names tools that may be gone.
    (build / "CMakeCache.txt").unlink(missing_ok=True)
    subprocess.run(configure, check=True)
    subprocess.run(["cmake", "--build", str(build)], check=True)
    target = PACKAGE / "lib"
    remove(target)
    target.mkdir()
    shutil.copy2(build / "libms_nsa_cpu.so", target)


def build_ascend_package():
    """Compiles the Ascend kernels if ASCEND_HOME_PATH names CANN; a compiler error ends the installation likewise."""
    remove(PACKAGE / "vendors")  # of another installation
    if os.environ.get("ASCEND_HOME_PATH"):
        script = ROOT / "ascendc" / "build.sh"
        subprocess.run(["bash", str(script), str(PACKAGE)], check=True, env={"PYTHON": sys.executable, **os.environ})


class BuildPackage(build_py):
    """Builds the native libraries, then the package in a fresh folder, with op_info.

    The source tree has no copy of op_info in the package: it would hide what is edited there.
    """

    def run(self):
        build_cpu_library()
        build_ascend_package()
        built = pathlib.Path(self.build_lib, "ms_nsa")
        for leftover in (built, PACKAGE / "op_info"):
            remove(leftover)
        super().run()
        if not self.editable_mode:
            shutil.copytree(ROOT / "op_info", built / "op_info")


class PlatformWheel(bdist_wheel):
    """One wheel for every Python of a platform: the library does not use Python's C interface."""

    def get_tag(self):
        return "py3", "none", super().get_tag()[2]


class BinaryDistribution(Distribution):
    """Marks the wheel as one with compiled code."""

    def has_ext_modules(self):
        return True


setup(cmdclass={"build_py": BuildPackage, "bdist_wheel": PlatformWheel}, distclass=BinaryDistribution)
