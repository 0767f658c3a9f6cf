// SPDX-License-Identifier: Apache-2.0
// What the tilings of MsNsaCompress, MsNsaCompressGrad and MsNsaCompressInfer share.
#pragma once

#include "compress_params.h"

namespace ms_nsa {

constexpr int32_t kVectorUnits = 2;  // AIVs beside an AIC

// The largest power of 2 that all `numbers`, joined by or, are multiples of and that is at most `most`.
int32_t PowerOfTwo(int64_t numbers, int64_t most);

// Sizes and attributes; of the struct in op_info.h.
template <class Operator>
CompressParams CompressParamsOf(const Operator& op) {
  CompressParams p{};
  p.batch = op.B;
  p.kv_heads = static_cast<int32_t>(op.N2);
  p.head_dim = static_cast<int32_t>(op.D);
  p.compress_block_size = static_cast<int32_t>(op.compress_block_size);
  p.compress_stride = static_cast<int32_t>(op.compress_stride);
  p.has_weight = !op.weight.absent();
  p.has_lens = !op.actual_seq_len.absent();
  p.debug = static_cast<int32_t>(op.debug);
  return p;
}

// The sums of windows depend on these alone, so that training and decode have the same bits.
void CutSums(CompressParams& params);

}  // namespace ms_nsa
