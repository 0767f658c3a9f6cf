// SPDX-License-Identifier: Apache-2.0
// The one way in which rows of windows are summed, so that a compressed row has the same bits in training,
// prefill and decode, whatever core makes it: slice after slice, sum_rows sums side by side, which are added
// when the window ends.
#pragma once

#include "compress_params.h"
#include "row_vector.h"
#include "unified_buffer.h"
#include "window_weights.h"

namespace ms_nsa {

template <class T>
class WindowSum {
 public:
  // Has kBytes of the half for stores from offset `at` on, and what WindowWeights takes.
  __aicore__ inline WindowSum(const CompressParams& params, UnifiedBuffer& ub, int32_t in_at, int32_t at)
      : p_(params),
        ub_(ub),
        at_(at),
        row_(params.part_heads * params.head_dim),
        weights_(params, ub, in_at, at + kWeightsAt) {}

  __aicore__ inline void Init(GM_ADDR weight) { weights_.Init(weight); }
  __aicore__ inline void Open(int32_t part) { weights_.Open(part); }

  // Room for zeros and the like while nothing is summed.
  __aicore__ inline Floats Slice() { return ub_.Out<float>(at_, kSliceElements); }

  // Takes a slice in; the raw one is free once V has done this.
  __aicore__ inline void Widen(const AscendC::LocalTensor<T>& raw) {
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::Cast(Slice(), raw, AscendC::RoundMode::CAST_NONE, p_.slice_rows * row_);
    AscendC::PipeBarrier<PIPE_V>();
  }

  // Adds it to window number `window` of the run as its slice number `slice`.
  __aicore__ inline void Add(int64_t window, int32_t slice) {
    const Floats sums = Sums(window);
    for (int32_t row = 0; row < p_.slice_rows; row += p_.sum_rows) {
      const Floats rows = Slice()[row * row_];
      const Floats weights = weights_.Blocks(slice * p_.slice_rows + row);
      if (slice == 0 && row == 0) {
        Multiply<true>(sums, rows, weights);
      } else {
        Multiply<false>(sums, rows, weights);
      }
      AscendC::PipeBarrier<PIPE_V>();
    }
  }

  // The sums of a window that has ended, in the type of the tensors.
  __aicore__ inline void Finish(int64_t window, const AscendC::LocalTensor<T>& out) {
    const Floats sums = Sums(window);
    FoldVectors<false>(sums, p_.sum_rows, row_);
    AscendC::Cast(out, sums, AscendC::RoundMode::CAST_RINT, row_);
  }

 private:
  static constexpr int32_t kSumsAt = kSliceElements * 4, kWeightsAt = kSumsAt + kSumFloats * 4;

 public:
  static constexpr int32_t kInBytes = WindowWeights<T>::kInBytes;
  static constexpr int32_t kBytes = kWeightsAt + WindowWeights<T>::kBytes;

 private:
  __aicore__ inline Floats Sums(int64_t window) {
    const int32_t floats = p_.sum_rows * row_, slot = window % LiveWindows(p_);
    return ub_.Out<float>(at_ + kSumsAt + slot * floats * 4, floats);
  }

  // A repeat is some columns of a row's head, whose weight is one block.
  template <bool fresh>
  __aicore__ inline void Multiply(const Floats& sums, const Floats& rows, const Floats& weights) {
    AscendC::BinaryRepeatParams params;
    params.dstRepStride = params.src0RepStride = p_.head_dim / kBlockFloats;
    params.src1BlkStride = 0;
    params.src1RepStride = 1;
    const uint8_t repeats = p_.sum_rows * p_.part_heads;
    for (int32_t c = 0; c < p_.head_dim; c += kLanes) {
      const uint64_t lanes = Min(p_.head_dim - c, kLanes);
      if constexpr (fresh) {
        AscendC::Mul(sums[c], rows[c], weights, lanes, repeats, params);
      } else {
        AscendC::MulAddDst(sums[c], rows[c], weights, lanes, repeats, params);
      }
    }
  }

  const CompressParams& p_;
  UnifiedBuffer& ub_;
  int32_t at_, row_;
  WindowWeights<T> weights_;
};

}  // namespace ms_nsa
