// SPDX-License-Identifier: Apache-2.0
// A part's weights in UB, each eight times, as the vector unit multiplies with them: [row][head].
#pragma once

#include "compress_limits.h"
#include "compress_params.h"
#include "row_vector.h"
#include "unified_buffer.h"

namespace ms_nsa {

template <class T, int32_t kMostBlocks = kMaxWindowRows * kMaxPartHeads>
class WindowWeights {
 public:
  // Has kInBytes and kBytes of UB's halves from these offsets on.
  __aicore__ inline WindowWeights(const CompressParams& params, UnifiedBuffer& ub, int32_t in_at, int32_t at)
      : p_(params), ub_(ub), in_at_(in_at), at_(at) {}

  __aicore__ inline void Init(GM_ADDR weight) {
    weight_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(weight));
  }

  // Waits for all pipes.
  __aicore__ inline void Open(int32_t part) {
    AscendC::PipeBarrier<PIPE_ALL>();
    const int32_t rows = p_.compress_block_size, count = rows * p_.part_heads;
    if (!p_.has_weight) {
      AscendC::Duplicate(Blocks(0), 1.0f / rows, count * kBlockFloats);
    } else if (p_.part_heads == p_.kv_heads) {
      AscendC::DataCopy(Raw(), weight_, count);
      Loaded();
      AscendC::Cast(Dense(), Raw(), AscendC::RoundMode::CAST_NONE, count);
      AscendC::PipeBarrier<PIPE_V>();
      AscendC::Brcb(Blocks(0), Dense(), count / kBlockFloats, {1, kBlockFloats});
    } else {
      LoadPart(part);
    }
    AscendC::PipeBarrier<PIPE_ALL>();
  }

  // Of rows from `row` on.
  __aicore__ inline Floats Blocks(int32_t row) {
    const int32_t before = row * p_.part_heads * kBlockFloats;
    return ub_.Out<float>(at_ + before * 4, kBlocksFloats - before);
  }

 private:
  // The last row of a part is followed by blocks that nobody has.
  static constexpr int32_t kBlocksFloats = (kMostBlocks + kMaxPartHeads) * kBlockFloats;
  static constexpr int32_t kRawElements = kMaxWindowRows * 16;  // rows of 32 bytes

 public:
  static constexpr int32_t kInBytes = kRawElements * 2;
  static constexpr int32_t kBytes = kBlocksFloats * 4 + kMaxWindowRows * kMaxPartHeads * 4;

 private:
  __aicore__ inline AscendC::LocalTensor<T> Raw() { return ub_.In<T>(in_at_, kRawElements); }
  __aicore__ inline Floats Dense() {
    return ub_.Out<float>(at_ + kBlocksFloats * 4, kMaxWindowRows * kMaxPartHeads);
  }

  // A row's heads are a burst; eight blocks are made of them, of which the next row takes what is too much.
  __aicore__ inline void LoadPart(int32_t part) {
    const int32_t rows = p_.compress_block_size, heads = p_.part_heads;
    const uint32_t bytes = heads * sizeof(T), gap = (p_.kv_heads - heads) * sizeof(T);
    const uint8_t fill = kMaxPartHeads - heads;
    AscendC::DataCopyPad(Raw(), weight_[FirstHead(p_, part)], {static_cast<uint16_t>(rows), bytes, gap, 0, 0},
                         {fill > 0, 0, fill, static_cast<T>(0.0f)});
    Loaded();
    AscendC::Cast(Dense(), Raw(), AscendC::RoundMode::CAST_NONE, static_cast<uint64_t>(kMaxPartHeads), rows,
                  {1, 1, 1, 1});
    for (int32_t row = 0; row < rows; ++row) {
      AscendC::PipeBarrier<PIPE_V>();
      AscendC::Brcb(Blocks(row), Dense()[row * kMaxPartHeads], 1, {1, kBlockFloats});
    }
  }

  __aicore__ inline void Loaded() {
    AscendC::SetFlag<AscendC::HardEvent::MTE2_V>(kEvent);
    AscendC::WaitFlag<AscendC::HardEvent::MTE2_V>(kEvent);
  }

  static constexpr int32_t kEvent = 5;  // of (MTE2, V)

  const CompressParams& p_;
  UnifiedBuffer& ub_;
  int32_t in_at_, at_;
  AscendC::GlobalTensor<T> weight_;
};

}  // namespace ms_nsa
