// SPDX-License-Identifier: Apache-2.0
// Every operation of one instruction set against plain scalar arithmetic; simd/README.md says what they owe.
//   simd_test            prints a line for each wrong operation
//   simd_test --planted  prints a line for each error of simd_planted.h: what is wrong once it is planted
// Built once per instruction set: MS_NSA_SIMD_HEADER, MS_NSA_VEC and MS_NSA_DOTS name what is tested.
#include "simd_test_dots.h"
#include "simd_test_elements.h"
#include "simd_test_vectors.h"

namespace simd_test {

const char* const kErrors[] = {"Zero",
                               "Set1",
                               "Load",
                               "Store",
                               "Add",
                               "Sub",
                               "Mul",
                               "Mul flushes",
                               "Div",
                               "Fma",
                               "Max",
                               "Max loses NaN",
                               "MaskFromBits",
                               "AtLeast",
                               "Select",
                               "ReduceMax",
                               "ReduceAdd",
                               "Round",
                               "Round up at ties",
                               "ScaleByPowerOf2",
                               "ScaleByPowerOf2 of the least",
                               "Transpose",
                               "Deinterleave",
                               "SumEach",
                               "MaxEach",
                               "LoadHalf",
                               "LoadHalf flushes",
                               "StoreHalf",
                               "StoreHalf twice rounded",
                               "LoadBf16",
                               "StoreBf16",
                               "StoreBf16 truncates",
                               "Broadcast",
                               "LoadB",
                               "MulAdd",
                               "MulAddBroadcast",
                               "StoreRow",
                               "StoreRow of two",
                               "StorePair",
                               "CopyPair",
                               "LoadDepth",
                               "StoreDepth",
                               "StoreColumns",
                               "LoadRow",
                               "LoadColumns"};

template <class... Dots>
void TestAll(Report& report) {
  using V = Planted<ms_nsa::MS_NSA_VEC>;
  VectorTest<V>(report).Run();
  ElementTest<V>(report).Run();
  (DotTest<PlantedDot<Dots>, typename Dots::Element>(report).Run(), ...);
  DotTest<PlantedDot<ms_nsa::FloatDot<ms_nsa::MS_NSA_VEC, true>>, ms_nsa::Fp32<ms_nsa::MS_NSA_VEC>>(report)
      .Run();
  using Float = PlantedDot<ms_nsa::FloatDot<ms_nsa::MS_NSA_VEC, false>>;
  DotTest<Float, ms_nsa::Fp16<ms_nsa::MS_NSA_VEC>>(report).Run();
  DotTest<Float, ms_nsa::Bf16<ms_nsa::MS_NSA_VEC>>(report).Run();
}

Report Test() {
  Report report;
  TestAll<MS_NSA_DOTS>(report);
  return report;
}

void PlantEach() {
  for (const char* error : kErrors) {
    planted = error;
    const Report report = Test();
    std::string wrong;
    for (const auto& [operation, what] : report.wrong()) wrong += (wrong.empty() ? "" : ",") + operation;
    std::printf("%s: %s\n", error, wrong.c_str());
  }
}

int Main(int argc, char** argv) {
  if (argc == 2 && std::string(argv[1]) == "--planted") {
    PlantEach();
    return 0;
  }
  const Report report = Test();
  for (const auto& [operation, what] : report.wrong())
    std::printf("%s: %s\n", operation.c_str(), what.c_str());
  return report.wrong().empty() ? 0 : 1;
}

}  // namespace simd_test

int main(int argc, char** argv) {
  return simd_test::Main(argc, argv);
}
