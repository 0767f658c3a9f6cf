// SPDX-License-Identifier: Apache-2.0
// Rules about tensor values: lengths, indices, page ids, mask extents, and the limits of a device. Each
// throws ArgumentError; after it, kernels may trust their parameters.
#pragma once

#include <string>

#include "params.h"

namespace ms_nsa {

struct InferCall;

void ValidateSelect(const std::string& op, const SelectAttentionInputs& in, int64_t mask_rows);

// Also derives query_start: for TND from the q lengths themselves.
void ValidateInfer(InferCall* call, const std::string& layout, int64_t mask_rows, const std::string& limits);

}  // namespace ms_nsa
