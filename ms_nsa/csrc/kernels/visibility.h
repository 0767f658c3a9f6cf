// SPDX-License-Identifier: Apache-2.0
// Which keys a token sees: the causal rule and the sequence's end as a limit, then the mask, as one word per
// key tile.
#pragma once

#include <cstring>

#include "sequences.h"
#include "windows.h"

namespace ms_nsa {
namespace {

// Raw rows of its sequence up to the position of token s, which counts from the start of its sequence; all
// without a causal rule.
inline int64_t RowsUpTo(SparseMode mode, const Sequence& seq, int64_t s) {
  if (mode == SparseMode::kLeftUpCausal) return Min(seq.raw_len, s + 1);
  if (mode == SparseMode::kRightDownCausal) return Max(0, Min(seq.raw_len, s + 1 + seq.raw_len - seq.q_len));
  return seq.raw_len;
}

// Token s sees keys [VisibleFrom, VisibleLimit).
inline int64_t VisibleLimit(const PackedAttentionInputs& in, const Sequence& seq, int64_t s) {
  const int64_t rows = RowsUpTo(in.sparse_mode, seq, s);
  if (in.key_rule != KeyRule::kCompressed) return rows;
  return WindowCount(rows, in.compress_block_size, in.compress_stride);
}
inline int64_t VisibleFrom(const PackedAttentionInputs& in, int64_t limit) {
  return in.key_rule == KeyRule::kWindow ? Max(0, limit - in.window_size) : 0;
}

inline uint64_t LowBits(int64_t count) {
  if (count <= 0) return 0;
  return count >= 64 ? ~uint64_t{0} : (uint64_t{1} << count) - 1;
}

// Bit i is set where byte i of count is zero.
inline uint64_t ZeroBytes(const uint8_t* bytes, int64_t count) {
  uint64_t bits = 0;
  for (int64_t i = 0; i < count; ++i) bits |= static_cast<uint64_t>(bytes[i] == 0) << i;
  return bits;
}

// Bit i: token s sees key first_key + i. keys <= 64.
inline uint64_t VisibleKeys(const PackedAttentionInputs& in, int64_t limit, int64_t s, int64_t first_key,
                            int64_t keys) {
  const int64_t count = Max(0, Min(keys, limit - first_key));
  if (in.atten_mask == nullptr) return LowBits(count) & ~LowBits(VisibleFrom(in, limit) - first_key);
  return ZeroBytes(in.atten_mask + s * in.atten_mask_cols + first_key, count);
}

}  // namespace
}  // namespace ms_nsa
