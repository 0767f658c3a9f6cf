// SPDX-License-Identifier: Apache-2.0
#include "op_call.h"

#include <algorithm>

#include "tiling/platform/platform_ascendc.h"

namespace ms_nsa {

int32_t AicCores(gert::TilingContext* context) {
  return static_cast<int32_t>(platform_ascendc::PlatformAscendC(context->GetPlatformInfo()).GetCoreNumAic());
}

ge::graphStatus Submit(const Plan& plan, gert::TilingContext* context) {
  gert::TilingData* data = context->GetRawTilingData();
  size_t* workspace = context->GetWorkspaceSizes(1);
  if (data == nullptr || workspace == nullptr || data->GetCapacity() < plan.params.size())
    return Refuse("ms_nsa: CANN left no room for the tiling data");
  std::copy(plan.params.begin(), plan.params.end(), static_cast<char*>(data->GetData()));
  data->SetDataSize(plan.params.size());
  const platform_ascendc::PlatformAscendC platform(context->GetPlatformInfo());
  *workspace = platform.GetLibApiWorkSpaceSize() + static_cast<size_t>(plan.workspace_bytes);
  context->SetBlockDim(static_cast<uint32_t>(plan.block_dim));
  context->SetScheduleMode(1);
  return ge::GRAPH_SUCCESS;
}

}  // namespace ms_nsa
