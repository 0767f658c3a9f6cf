"""Build entry: compiles csrc to ms_nsa/lib and puts op_info into the package. Metadata is in pyproject.toml."""

import pathlib
import shutil
import subprocess

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

ROOT = pathlib.Path(__file__).resolve().parent
PACKAGE = ROOT / "ms_nsa"


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
    ]
    # A CMake cache of another installation names tools that may be gone.
    (build / "CMakeCache.txt").unlink(missing_ok=True)
    subprocess.run(configure, check=True)
    subprocess.run(["cmake", "--build", str(build)], check=True)
    target = PACKAGE / "lib"
    target.mkdir(exist_ok=True)
    shutil.copy2(build / "libms_nsa_cpu.so", target)


class BuildPackage(build_py):
    """Builds the native library and collects op_info before the package is copied."""

    def run(self):
        build_cpu_library()
        shutil.copytree(ROOT / "op_info", PACKAGE / "op_info", dirs_exist_ok=True)
        super().run()


class PlatformWheel(bdist_wheel):
    """One wheel for every Python of a platform: the library does not use Python's C interface."""

    def get_tag(self):
        return "py3", "none", super().get_tag()[2]


class BinaryDistribution(Distribution):
    """Marks the wheel as one with compiled code."""

    def has_ext_modules(self):
        return True


setup(cmdclass={"build_py": BuildPackage, "bdist_wheel": PlatformWheel}, distclass=BinaryDistribution)
