// SPDX-License-Identifier: Apache-2.0
// Stand-in for CANN's description of the chip.
#pragma once

#include "register/op_def_registry.h"

namespace platform_ascendc {

class PlatformAscendC {
 public:
  explicit PlatformAscendC(fe::PlatFormInfos* info) : info_(info) {}
  uint32_t GetCoreNumAic() const { return info_->aic_cores; }
  uint32_t GetCoreNumAiv() const { return info_->aiv_cores; }
  uint32_t GetLibApiWorkSpaceSize() const { return info_->system_workspace; }

 private:
  fe::PlatFormInfos* info_;
};

}  // namespace platform_ascendc
