// SPDX-License-Identifier: Apache-2.0
// C interface of the host code for the Python tests.
#include <cstring>

#include "dense_tiling.h"
#include "infer_tiling.h"
#include "select_grad_tiling.h"
#include "select_tiling.h"

namespace {

struct Plan {
  ms_nsa::AttentionParams params;
  int64_t block_dim, workspace_bytes;
  char error[512];
};

int Report(const ms_nsa::Tiling& tiling, Plan* plan) {
  plan->params = tiling.params;
  plan->block_dim = tiling.block_dim;
  plan->workspace_bytes = tiling.workspace_bytes;
  std::strncpy(plan->error, tiling.error.c_str(), sizeof(plan->error) - 1);
  return !tiling.error.empty();
}

}  // namespace

extern "C" int HostTileInfer(const ms_nsa::InferShapes* shapes, int aic_cores, Plan* plan) {
  return Report(ms_nsa::TileInfer(*shapes, aic_cores), plan);
}

extern "C" int HostTileSelect(const ms_nsa::SelectShapes* shapes, int aic_cores, Plan* plan, int schedule) {
  return Report(ms_nsa::TileSelect(*shapes, aic_cores, static_cast<ms_nsa::Schedule>(schedule)), plan);
}

extern "C" int HostTileSelectGrad(const ms_nsa::SelectShapes* shapes, int aic_cores, Plan* plan) {
  return Report(ms_nsa::TileSelectGrad(*shapes, aic_cores), plan);
}

struct DensePlan {
  ms_nsa::DenseParams params;
  int64_t block_dim, workspace_bytes;
};

extern "C" void HostTileDense(const ms_nsa::DenseShapes* shapes, int aic_cores, DensePlan* plan) {
  const ms_nsa::DenseTiling tiling = ms_nsa::TileDense(*shapes, aic_cores);
  *plan = {tiling.params, tiling.block_dim, tiling.workspace_bytes};
}
