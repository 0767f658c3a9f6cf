# SPDX-License-Identifier: Apache-2.0
"""What adding the toy operator changes in files that are there: (file, before this text, what is added)."""

PARAMS = """struct ToyScaleParams {
  const void* x;  // [size]
  void* y;        // [size]
  int64_t size;
  float scale_value;
  DType dtype;
};

"""

TABLE = """  static void ToyScale(const ToyScaleParams& p) {
    switch (p.dtype) {
      case DType::kFloat16:
        return ms_nsa::ToyScale<V, Fp16<V>>(p);
      case DType::kBFloat16:
        return ms_nsa::ToyScale<V, Bf16<V>>(p);
      case DType::kFloat32:
        return ms_nsa::ToyScale<V, Fp32<V>>(p);
    }
  }
"""

EDITS = [
    ("ms_nsa/csrc/params.h", "constexpr int64_t kStatLanes", PARAMS),
    ("ms_nsa/csrc/kernel_table.h", "  void (*packed_attention)", "  void (*toy_scale)(const ToyScaleParams&);\n"),
    ("ms_nsa/csrc/kernels/table.h", '#include "training/backward.h"', '#include "toy_scale.h"\n'),
    ("ms_nsa/csrc/kernels/table.h", "  static constexpr KernelTable Table", TABLE),
    ("ms_nsa/csrc/kernels/table.h", "&PackedAttention,", "&ToyScale, "),
    ("ms_nsa/__init__.py", "\n__version__", "from ms_nsa.toy_scale import ToyScale, ToyScaleGrad\n"),
    ("ms_nsa/__init__.py", '    "nsa_select_attention",', '    "ToyScale",\n    "ToyScaleGrad",\n'),
    (
        "ms_nsa/__init__.pyi",
        "def nsa_select_attention(",
        "class ToyScale(nn.Cell): ...\nclass ToyScaleGrad(nn.Cell): ...\n\n",
    ),
]
