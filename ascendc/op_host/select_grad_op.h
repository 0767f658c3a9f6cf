// SPDX-License-Identifier: Apache-2.0
// What the two files of MsNsaSelectAttentionGrad share.
#pragma once

#include "select_op.h"

namespace ms_nsa {

ge::graphStatus TilingSelectGrad(gert::TilingContext* context);

}  // namespace ms_nsa
