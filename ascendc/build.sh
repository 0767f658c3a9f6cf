#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds the vendor package ms_nsa from CANN's project template: `build.sh FOLDER` leaves it in FOLDER/vendors/ms_nsa.
# ASCEND_HOME_PATH names CANN (its set_env.sh sets it), MS_NSA_CHIPS the chips, PYTHON the Python that CANN runs.
set -euo pipefail

fail() {
  echo "ascendc/build.sh: $*" >&2
  exit 1
}

[ $# -eq 1 ] || fail "one argument must be given, the folder to install into, got $#"
[ -n "${ASCEND_HOME_PATH:-}" ] || fail "ASCEND_HOME_PATH must name CANN's folder (source its set_env.sh), got nothing"
cann=$ASCEND_HOME_PATH
template=$cann/tools/op_project_templates/ascendc/customize
[ -d "$template" ] || fail "ASCEND_HOME_PATH must hold CANN's toolkit with its project templates, got no $template"
python=${PYTHON:-python3}
"$python" -c 'import numpy' 2>/dev/null ||
  fail "the Python that runs CANN's compiler must have numpy, got none in $python (pip: use --no-build-isolation)"

chips=${MS_NSA_CHIPS:-ascend910b;ascend910_93}
sources=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
target=$(cd "$1" && pwd)
vendor=$target/vendors/ms_nsa
project=$(dirname "$sources")/build/ascend
log=$project/build.log

remove() {  # CANN's installer leaves folders that may not be written to
  if [ -e "$1" ]; then
    chmod -R u+w "$1"
    rm -rf "$1"
  fi
}

remove "$project"
mkdir -p "$(dirname "$project")"
cp -r "$template" "$project"
chmod -R u+w "$project"
# The template knows no subfolders: shared headers go beside the sources of host and kernels.
for folder in op_host op_kernel; do
  rm -f "$project/$folder"/*.h "$project/$folder"/*.cpp
  cp "$sources"/common/*.h "$sources/$folder"/*.h "$sources/$folder"/*.cpp "$project/$folder/"
done
# The registration is made of op_info; its rules are arithmetic that the CPU's library has.
root=$(dirname "$sources")
"$python" "$sources/generate.py" "$root/op_info" "$project/op_host" || fail "op_info must be understood, see above"
cp "$root"/ms_nsa/csrc/call/{errors,extents,tensor}.h "$project/op_host/"

"$python" - "$project/CMakePresets.json" "$chips" "$cann" "$python" <<'PYTHON'
import json
import sys

path, chips, cann, python = sys.argv[1:]
with open(path, encoding="utf-8") as file:
    presets = json.load(file)
variables = presets["configurePresets"][0]["cacheVariables"]
for name, kind, value in [
    ("ASCEND_COMPUTE_UNIT", "STRING", chips),
    ("ASCEND_CANN_PACKAGE_PATH", "PATH", cann),
    ("ASCEND_PYTHON_EXECUTABLE", "STRING", python),
    ("ENABLE_TEST", "BOOL", "False"),
    ("vendor_name", "STRING", "ms_nsa"),
]:
    variables[name] = {"type": kind, "value": value}
with open(path, "w", encoding="utf-8") as file:
    json.dump(presets, file, indent=4)
PYTHON

# The template's script does not tell a failure of its first steps, so that the results are looked at, too.
echo "building the Ascend kernels for $chips with $cann; this takes minutes ($log)"
if ! (cd "$project" && env -u ASCEND_CUSTOM_OPP_PATH bash build.sh) >"$log" 2>&1; then
  cat "$log" >&2
  fail "CANN's build must succeed, got the messages above"
fi
installer=$(find "$project/build_out" -maxdepth 1 -name 'custom_opp_*.run' | head -n 1)
if [ -z "$installer" ]; then
  cat "$log" >&2
  fail "CANN's build must leave an installer in $project/build_out, got the messages above"
fi

remove "$vendor"
bash "$installer" --install-path="$target" >>"$log" 2>&1 || { cat "$log" >&2; fail "CANN's installer failed"; }
chmod -R u+w "$vendor"
for entry in "$sources"/op_kernel/ms_nsa_*.cpp; do
  name=$(basename "$entry" .cpp)
  [ -f "$vendor/op_api/include/aclnn_$name.h" ] || { cat "$log" >&2; fail "CANN made no aclnn_$name.h"; }
  for chip in ${chips//;/ }; do
    compgen -G "$vendor/op_impl/ai_core/tbe/kernel/$chip/$name/*.o" >/dev/null ||
      { cat "$log" >&2; fail "CANN compiled no $name for $chip"; }
  done
done
echo "installed $vendor"
