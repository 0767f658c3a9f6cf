// C interface of the host code for the Python tests.
#include <cstring>

#include "infer_tiling.h"

extern "C" int HostTileInfer(const ms_nsa::InferShapes* shapes, int aic_cores, ms_nsa::InferParams* params,
                             int* block_dim, int64_t* workspace_bytes, char* error, int error_bytes) {
  const ms_nsa::InferTiling tiling = ms_nsa::TileInfer(*shapes, aic_cores);
  *params = tiling.params;
  *block_dim = tiling.block_dim;
  *workspace_bytes = tiling.workspace_bytes;
  std::strncpy(error, tiling.error.c_str(), error_bytes - 1);
  error[error_bytes - 1] = 0;
  return !tiling.error.empty();
}
