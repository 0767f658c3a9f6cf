// SPDX-License-Identifier: Apache-2.0
// Launches vector_add from C++: argument 1 is the kernel's vector half, the lengths follow.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "twin/launch.h"

namespace {

// 1.0 and 2.0 and their sum as half.
constexpr uint16_t kOne = 0x3c00, kTwo = 0x4000, kThree = 0x4200;

TwinArgument Argument(std::vector<uint16_t>& data, uint32_t kind, const char* name) {
  return {data.data(), data.size() * sizeof(uint16_t), name, kind, 0};
}

bool Run(const char* object, uint32_t length) {
  std::vector<uint16_t> x(length, kOne), y(length, kTwo), z(length, 0);
  uint32_t tiling[2] = {length, 640};
  const TwinArgument arguments[] = {Argument(x, 0, "x"),
                                    Argument(y, 0, "y"),
                                    Argument(z, 1, "z"),
                                    {nullptr, 0, "workspace", 0, 0},
                                    {tiling, sizeof(tiling), "tiling", 0, 0}};
  TwinLaunch launch{};
  launch.vector_object = object;
  launch.entry = "vector_add";
  launch.arguments = arguments;
  launch.argument_count = 5;
  launch.block_dim = 3;
  launch.aic_cores = 20;
  launch.seed = 7;
  launch.preempt = 2;
  launch.checks = launch.timing = 1;
  launch.report_limit = 10;
  TwinResult* result = twin_launch(&launch);
  const std::string error = twin_error(result), reports = twin_reports(result), times = twin_timing(result);
  twin_free(result);
  if (error.empty() && reports == "{\"dropped\":0,\"reports\":[]}" &&
      z == std::vector<uint16_t>(length, kThree) && times.find("\"modelled_cycles\"") != std::string::npos) {
    return true;
  }
  std::printf("length %u: %s %s\n", length, error.c_str(), reports.c_str());
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  bool ok = argc > 2;
  for (int i = 2; i < argc; ++i) ok = Run(argv[1], static_cast<uint32_t>(std::atoi(argv[i]))) && ok;
  return ok ? 0 : 1;
}
