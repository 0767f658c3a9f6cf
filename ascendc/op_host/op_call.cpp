// SPDX-License-Identifier: Apache-2.0
#include "op_call.h"

#include "tiling/platform/platform_ascendc.h"

namespace ms_nsa {

int32_t AicCores(gert::TilingContext* context) {
  return static_cast<int32_t>(platform_ascendc::PlatformAscendC(context->GetPlatformInfo()).GetCoreNumAic());
}

size_t SystemWorkspace(gert::TilingContext* context) {
  return platform_ascendc::PlatformAscendC(context->GetPlatformInfo()).GetLibApiWorkSpaceSize();
}

}  // namespace ms_nsa
