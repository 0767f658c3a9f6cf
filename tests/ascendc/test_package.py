# SPDX-License-Identifier: Apache-2.0
"""The vendor package: build.sh with a stand-in for CANN, setup.py, and MindSpore's own readers of the result."""

import json
import os
import pathlib
import re
import runpy
import shutil
import subprocess
import sys
import types

import pytest
from mindspore.ops.operations import _custom_ops_utils as readers

from ascendc import host, op_host
from ascendc.cann import toolkit
from ascendc.conftest import build, copy_sources
from ms_nsa import registry
from ms_nsa.primitive import registration

CHIPS = ["ascend910b", "ascend910_93"]
OP_TYPES = sorted(op_host.registered())


@pytest.fixture(params=CHIPS)
def on_chip(request, package, monkeypatch, tmp_path):
    """MindSpore finds the package, on a machine with this chip."""
    context = types.SimpleNamespace(get_ascend_soc_version=lambda: request.param)
    monkeypatch.setattr(readers, "MSContext", types.SimpleNamespace(get_instance=lambda: context))
    monkeypatch.setenv("ASCEND_CUSTOM_OPP_PATH", str(package.vendor))
    monkeypatch.setenv("ASCEND_OPP_PATH", package.variables["ASCEND_OPP_PATH"])
    monkeypatch.setenv("MS_COMPILER_CACHE_PATH", str(tmp_path))


def test_build_installs_the_package(package):
    assert package.done.returncode == 0, package.done.stderr
    assert package.done.stdout.splitlines()[-1] == f"installed {package.vendor}"
    assert (package.vendor / "version.info").read_text() == f"custom_opp_compiler_version={toolkit.VERSION}\n"
    for chip in CHIPS:
        tbe = package.vendor / "op_impl" / "ai_core" / "tbe"
        assert sorted(json.loads((tbe / "config" / chip / f"aic-{chip}-ops-info.json").read_text())) == OP_TYPES
        assert sorted(p.name for p in (tbe / "kernel" / chip).iterdir()) == sorted(map(toolkit.snake, OP_TYPES))


def test_the_project_is_flat(package):
    """CANN's template knows no subfolders and no folder common."""
    project = package.folder / "build" / "ascend"
    made = {"op_host": {"op_info.h", "op_info.cpp", "errors.h", "extents.h", "tensor.h"}, "op_kernel": set()}
    for folder in ("op_host", "op_kernel"):
        found = {path.name for path in (project / folder).iterdir()}
        expected = {path.name for part in ("common", folder) for path in (package.sources / part).iterdir()}
        assert found == expected | made[folder]
    values = json.loads((project / "CMakePresets.json").read_text())["configurePresets"][0]["cacheVariables"]
    assert values["vendor_name"]["value"] == "ms_nsa"
    assert values["ASCEND_COMPUTE_UNIT"]["value"] == ";".join(CHIPS)
    assert values["ASCEND_CANN_PACKAGE_PATH"]["value"] == package.variables["ASCEND_HOME_PATH"]


def test_a_compiler_error_is_shown(package, tmp_path):
    sources = copy_sources(tmp_path)
    with (sources / "op_host" / "op_call.cpp").open("a") as file:
        file.write("int broken = nonsense;\n")
    done = build(package, tmp_path / "installed", sources, MS_NSA_CHIPS="ascend910b")
    assert done.returncode == 1
    assert re.search(r"op_call\.cpp:\d+:\d+: error: .*nonsense", done.stderr)
    assert done.stderr.splitlines()[-1].endswith("CANN's build must succeed, got the messages above")
    assert not (tmp_path / "installed" / "vendors").exists()


def test_a_header_that_the_project_lacks_is_found_out(package, tmp_path):
    sources = copy_sources(tmp_path)
    (sources / "common" / "row_walk.h").unlink()
    done = build(package, tmp_path / "installed", sources)
    assert done.returncode == 1 and "row_walk.h: No such file" in done.stderr


def test_a_build_takes_the_place_of_an_earlier_one(package, tmp_path):
    vendor = tmp_path / "vendors" / "ms_nsa"
    shutil.copytree(package.vendor, vendor)
    for path in (vendor, vendor / "op_impl"):
        path.chmod(0o555)
    done = build(package, tmp_path, MS_NSA_CHIPS="ascend910_93")
    assert done.returncode == 0, done.stderr
    config = vendor / "op_impl" / "ai_core" / "tbe" / "config"
    assert [path.name for path in config.iterdir()] == ["ascend910_93"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"ASCEND_HOME_PATH": None}, "ASCEND_HOME_PATH must name CANN's folder (source its set_env.sh), got nothing"),
        (
            {"ASCEND_HOME_PATH": "/nowhere"},
            "must hold CANN's toolkit with its project templates, got no /nowhere/tools",
        ),
        ({"PYTHON": "/bin/false"}, "the Python that runs CANN's compiler must have numpy, got none in /bin/false"),
    ],
)
def test_what_is_missing_is_named(package, tmp_path, changes, sentence):
    done = build(package, tmp_path, **changes)
    assert done.returncode == 1
    assert done.stderr.startswith("ascendc/build.sh: ") and sentence in done.stderr


class BuildPy:
    """Stands in for the command of setuptools, which a test's environment need not have."""

    editable_mode = False

    def __init__(self, build_lib):
        self.build_lib = str(build_lib)

    def run(self):
        pathlib.Path(self.build_lib, "ms_nsa").mkdir(parents=True, exist_ok=True)


@pytest.fixture
def setup_py(monkeypatch):
    """The names of setup.py, whose folders are yet to be set."""
    classes = {
        "setuptools": {"Distribution": object, "__version__": "77.0.3"},
        "setuptools.command.bdist_wheel": {"bdist_wheel": object},
        "setuptools.command.build_py": {"build_py": BuildPy},
        "setuptools.command.dist_info": {"dist_info": object},
    }
    for name, bases in classes.items():
        monkeypatch.setitem(sys.modules, name, types.SimpleNamespace(**bases, setup=lambda **_: None))
    return runpy.run_path(str(host.ROOT / "setup.py"))["BuildPackage"].run.__globals__


def test_setup_builds_the_package_where_cann_is(package, setup_py, monkeypatch, tmp_path):
    """Into the package's folder; without CANN what an earlier installation left is removed."""
    make = setup_py["build_ascend_package"]
    setup_py.update(ROOT=package.folder, PACKAGE=tmp_path)
    for name in ("ASCEND_HOME_PATH", "PYTHONPATH"):
        monkeypatch.setenv(name, package.variables[name])
    make()
    assert (tmp_path / "vendors" / "ms_nsa" / "version.info").is_file()
    monkeypatch.setenv("PYTHON", "/bin/false")
    with pytest.raises(subprocess.CalledProcessError):
        make()
    monkeypatch.delenv("ASCEND_HOME_PATH")
    make()
    assert not (tmp_path / "vendors").exists()


def test_setup_leaves_nothing_of_an_earlier_build(setup_py, monkeypatch, tmp_path):
    package, built = tmp_path / "ms_nsa", tmp_path / "build" / "lib" / "ms_nsa"
    for folder in ("ms_nsa/lib", "ms_nsa/op_info", "ms_nsa/vendors/old", "build/lib/ms_nsa", "build/cpu", "op_info"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "stale.json").touch()
    (package / "vendors" / "old").chmod(0o555)
    (package / "csrc").mkdir()
    shutil.copy(host.ROOT / "ms_nsa" / "csrc" / "digest.py", package / "csrc")
    (tmp_path / "build" / "cpu" / "libms_nsa_cpu.so").touch()
    (tmp_path / "op_info" / "stale.json").rename(tmp_path / "op_info" / "Operator.json")
    compiled = types.SimpleNamespace(run=lambda *_, **__: None)
    setup_py.update(ROOT=tmp_path, PACKAGE=package, subprocess=compiled)
    monkeypatch.delenv("ASCEND_HOME_PATH", raising=False)
    setup_py["BuildPackage"](built.parent).run()
    assert sorted(path.name for path in (package / "lib").iterdir()) == ["libms_nsa_cpu.so", "sources.sha256"]
    assert sorted(path.name for path in package.iterdir()) == ["csrc", "lib"]
    assert not list(built.rglob("stale.json"))
    assert [path.name for path in (built / "op_info").iterdir()] == ["Operator.json"]


@pytest.mark.parametrize("op_type", OP_TYPES)
def test_mindspore_reads_the_operator_information(on_chip, op_type):
    """What MindSpore makes of the package is what the primitive says of itself, but for the attributes' values, and but
    for the order of more than ten inputs: the reader sorts input10 before input2. The primitives do not go by it."""
    operator = op_host.OPERATORS[op_type]
    read = readers.CustomInfoGenerator(op_type).generate_custom_reg_op()
    told = registration.ascend_registration(operator)
    places = sorted(range(len(told["inputs"])), key=lambda place: f"input{place}")
    inputs = [{**told["inputs"][place], "index": index} for index, place in enumerate(places)]
    rows = [tuple(row[place] for place in places) + row[len(places) :] for row in told["dtype_format"]]
    assert (read["inputs"], read["outputs"], read["dtype_format"]) == (inputs, told["outputs"], rows)
    assert [(a["name"], a["type"]) for a in read["attr"]] == [(a["name"], a["type"]) for a in told["attr"]]


@pytest.mark.parametrize("op_type", OP_TYPES)
def test_mindspore_reads_the_header_and_its_callback_compiles(on_chip, package, op_type, tmp_path):
    operator = op_host.OPERATORS[op_type]
    kinds = {"int": "int64_t", "float": "double"}
    attributes = [kinds["int" if "choices" in a else a["type"]] for a in registry.attributes(operator, "ascend")]
    tensors = ["aclTensor*"] * len(registry.inputs(operator, "ascend"))
    outputs = ["aclTensor*"] * len(registry.outputs(operator, "ascend"))
    types_read = readers.CustomInfoGenerator("aclnn" + op_type).get_aclnn_api_types()
    assert types_read == [*tensors, *attributes, *outputs, "uint64_t*", "aclOpExecutor**"]
    told = registration.ascend_registration(operator)
    code = readers.CustomCodeGenerator().generate_callback_by_types(op_type, told, types_read)
    (tmp_path / "callback.cc").write_text(code)
    include = os.path.join(package.variables["ASCEND_HOME_PATH"], "include")
    options = ["-std=c++17", "-shared", "-fPIC", "-D_GLIBCXX_USE_CXX11_ABI=0", f"-I{include}", "-Wall", "-Werror"]
    command = ["g++", *options, str(tmp_path / "callback.cc"), "-o", str(tmp_path / "callback.so")]
    subprocess.run(command, check=True)
