# SPDX-License-Identifier: Apache-2.0
"""A stand-in for CANN's toolkit: project template, build, installer and versions, as far as ascendc/build.sh and
MindSpore look at them. Its build makes of op_host what CANN's makes of it, by the rules of CANN's generators; of a
kernel it only resolves the includes."""

import hashlib
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys

from ascendc import cann
from builds import build_once

HERE = pathlib.Path(__file__).resolve().parent
OBJECTS = HERE.parents[2] / "build" / "ascendc"
TWIN = HERE.parents[1] / "twin" / "include"
VERSION = "9.1.0"
C_TYPES = {"int": "int64_t", "float": "double"}

TEMPLATE_BUILD = """\
#!/bin/bash
exec {python} -m ascendc.cann.toolkit "$(dirname "$(realpath "$0")")"
"""
INSTALLER = """\
#!/bin/bash
for argument in "$@"; do
  case $argument in --install-path=*) target=${argument#*=} ;; *) echo "unknown $argument"; exit 1 ;; esac
done
mkdir -p "$target" && cp -r "$(dirname "$0")/packages/vendors" "$target/" && chmod -R a-w "$target/vendors"
"""
ACL_BASE = """\
#pragma once
#include <cstdint>
typedef int aclnnStatus;
typedef void *aclrtStream;
"""
HEADER = """\
#ifndef ACLNN_{guard}_H_
#define ACLNN_{guard}_H_

#include "aclnn/acl_meta.h"

#ifdef __cplusplus
extern "C" {{
#endif

/* function: aclnn{op}GetWorkspaceSize
 * parameters :
{comments}
 * workspaceSize : size of workspace(output).
 * executor : executor context(output).
 */
__attribute__((visibility("default")))
aclnnStatus aclnn{op}GetWorkspaceSize(
    {parameters},
    uint64_t *workspaceSize,
    aclOpExecutor **executor);

__attribute__((visibility("default")))
aclnnStatus aclnn{op}(
    void *workspace,
    uint64_t workspaceSize,
    aclOpExecutor *executor,
    aclrtStream stream);

#ifdef __cplusplus
}}
#endif

#endif
"""


def install(folder):
    """Lays the toolkit out in `folder`; returns the variables of its set_env.sh."""
    template = folder / "tools" / "op_project_templates" / "ascendc" / "customize"
    files = {
        folder / "compiler" / "version.info": f"Version={VERSION}\n",
        folder / "include" / "acl" / "acl_base.h": ACL_BASE,
        template / "build.sh": TEMPLATE_BUILD.format(python=sys.executable),
        template / "CMakePresets.json": json.dumps({"configurePresets": [{"cacheVariables": {
            "vendor_name": {"type": "STRING", "value": "customize"},
            "ASCEND_COMPUTE_UNIT": {"type": "STRING", "value": "__ASCEND_COMPUTE_UNIT__"},
        }}]}),
        template / "op_host" / "sample.cpp": "#error a sample of the template\n",
        template / "op_kernel" / "sample.cpp": "#error a sample of the template\n",
    }  # fmt: skip
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    template.chmod(0o555)
    (folder / "opp").mkdir()
    return {"ASCEND_HOME_PATH": str(folder), "ASCEND_OPP_PATH": str(folder / "opp")}


def snake(op_type):
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", op_type).lower()


def camel(name):
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)


def _op_information(op):
    """One operator of aic-<chip>-ops-info.json; every leaf is a string."""
    names = {number: name for name, number in cann.TYPES.items()}
    options = {cann.OPTIONAL: "optional", cann.REQUIRED: "required"}
    information = {}
    for kind in ("input", "output"):
        for index, tensor in enumerate(op[kind + "s"]):
            formats = ",".join("ND" for _ in tensor["types"])
            information[f"{kind}{index}"] = {
                "name": tensor["name"],
                "dtype": ",".join(names[number] for number in tensor["types"]),
                "format": formats,
                "unknownshape_format": formats,
                "shape": "all",
                "paramType": options[tensor["option"]],
            }
    information["attr"] = {"list": ",".join(attribute["name"] for attribute in op["attributes"])}
    for attribute in op["attributes"]:
        described = {"type": attribute["type"], "value": "all", "paramType": options[attribute["option"]]}
        information["attr_" + attribute["name"]] = described
    information.update(
        {key: {"flag": "true"} for key in ("dynamicFormat", "dynamicRankSupport", "dynamicShapeSupport")}
    )
    information.update({key: {"value": snake(op["name"])} for key in ("opFile", "opInterface")})
    return {**information, "coreType": {"value": "AiCore"}}


def _header(op):
    """aclnn_<op>.h: inputs, attributes, outputs; ...Optional behind absent ones, ...Out behind several outputs."""
    parameters, comments = [], []
    for tensor in op["inputs"]:
        optional = tensor["option"] == cann.OPTIONAL
        name = camel(tensor["name"]) + ("Optional" if optional else "")
        parameters.append(f"const aclTensor *{name}")
        comments.append(f" * {name} : {'optional' if optional else 'required'}")
    for attribute in op["attributes"]:
        parameters.append(f"{C_TYPES[attribute['type']]} {camel(attribute['name'])}")
        comments.append(f" * {camel(attribute['name'])} : required")
    for tensor in op["outputs"]:
        name = "out" if len(op["outputs"]) == 1 else camel(tensor["name"]) + "Out"
        parameters.append(f"const aclTensor *{name}")
        comments.append(f" * {name} : required")
    return HEADER.format(
        op=op["name"], guard=snake(op["name"]).upper(), parameters=",\n    ".join(parameters),
        comments="\n".join(comments),
    )  # fmt: skip


def _compile_host(project):
    """The library of op_host, from the project's flat folders only."""
    library = project / "build_out" / "libcust_opapi.so"
    include = [HERE / "include", project / "op_kernel", project / "op_host"]
    sources = [HERE.parent / "op_host.cpp", *sorted((project / "op_host").glob("*.cpp"))]
    headers = [path for folder in include for path in sorted(folder.rglob("*.h"))]
    of_headers = b"".join(path.name.encode() + path.read_bytes() for path in headers)
    objects = [_compile_source(source, of_headers, [f"-I{folder}" for folder in include]) for source in sources]
    subprocess.run(["g++", "-shared", *map(str, objects), "-o", str(library)], check=True)
    return library


def _compile_source(source, of_headers, include):
    """Its object file. Most projects differ in few sources: the others come from the build folder."""
    digest = hashlib.sha256(source.read_bytes() + of_headers).hexdigest()[:16]
    target = OBJECTS / f"package-{source.stem}-{digest}.o"
    command = ["g++", "-std=c++11", "-O0", "-fPIC", "-c", *include, str(source), "-o"]
    return build_once(target, lambda partial: subprocess.run([*command, str(partial)], check=True))


def _compile_kernel(source, binary):
    """Resolves the kernel's includes: its own from its folder, CANN's from the twin's."""
    options = ["-std=c++17", "-D__DAV_C220_CUBE__", "-M", f"-I{TWIN}"]
    subprocess.run(["g++", *options, str(source), "-o", str(binary)], check=True)


def build(project):
    """What the template's build does."""
    variables = json.loads((project / "CMakePresets.json").read_text())["configurePresets"][0]["cacheVariables"]
    values = {name: variable["value"] for name, variable in variables.items()}
    out = project / "build_out"
    vendor = out / "packages" / "vendors" / values["vendor_name"]
    out.mkdir()
    for source in sorted((project / "op_kernel").glob("*.cpp")):
        _compile_kernel(source, out / f"{source.stem}.o")
    library = _compile_host(project)
    ops = cann.registered(library)
    include, tbe = vendor / "op_api" / "include", vendor / "op_impl" / "ai_core" / "tbe"
    include.mkdir(parents=True)
    for op in ops.values():
        (include / f"aclnn_{snake(op['name'])}.h").write_text(_header(op))
    for chip in values["ASCEND_COMPUTE_UNIT"].split(";"):
        here = {name: op for name, op in ops.items() if chip in op["configs"]}
        path = tbe / "config" / chip / f"aic-{chip}-ops-info.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({name: _op_information(op) for name, op in here.items()}, indent=1))
        for name in here:
            installed = tbe / "kernel" / chip / snake(name)
            installed.mkdir(parents=True)
            shutil.copy(out / f"{snake(name)}.o", installed)
    (vendor / "op_api" / "lib").mkdir()
    shutil.copy(library, vendor / "op_api" / "lib")
    version_info = pathlib.Path(values["ASCEND_CANN_PACKAGE_PATH"]) / "compiler" / "version.info"
    version = version_info.read_text().strip().partition("=")[2]
    (vendor / "version.info").write_text(f"custom_opp_compiler_version={version}\n")
    installer = out / f"custom_opp_linux_{platform.machine()}.run"
    installer.write_text(INSTALLER)


def environment():
    """Variables under which the stand-in's build finds its own modules."""
    search = os.pathsep.join(path for path in sys.path if path)
    return {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": search}


if __name__ == "__main__":
    build(pathlib.Path(sys.argv[1]))
