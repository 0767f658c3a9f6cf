// SPDX-License-Identifier: Apache-2.0
// The inverse index of a segment: for each kv head and select block, which slots of which tokens select it.
// It is a set of bits a unit, made by comparing the indices with the block number, so that its order is that
// of the tokens however the work is spread.
#pragma once

#include "gm_source.h"
#include "tile_walk.h"
#include "unified_buffer.h"

namespace ms_nsa {

// Reads through the data cache: to be invalidated after the index was built.
class BlockIndex {
 public:
  __aicore__ inline BlockIndex(GM_ADDR masks, GM_ADDR counts) {
    masks_.SetGlobalBuffer(reinterpret_cast<__gm__ uint64_t*>(masks));
    counts_.SetGlobalBuffer(reinterpret_cast<__gm__ int32_t*>(counts));
  }

  __aicore__ inline int64_t Count(int64_t unit) const { return counts_.GetValue(unit * kCountInts); }
  __aicore__ inline uint64_t Word(int64_t unit, int32_t number) const {
    return masks_.GetValue(unit * kMaskWords + number);
  }
  __aicore__ inline int32_t FirstWord(int64_t) const { return 0; }
  __aicore__ inline bool Mixes(int64_t) const { return false; }
  __aicore__ inline void Invalidate() const {
    AscendC::DataCacheCleanAndInvalid<uint64_t, AscendC::CacheLine::ENTIRE_DATA_CACHE,
                                      AscendC::DcciDst::CACHELINE_OUT>(masks_);
  }

  __aicore__ inline AscendC::GlobalTensor<uint64_t> Mask(int64_t unit) const {
    return masks_[unit * kMaskWords];
  }
  __aicore__ inline AscendC::GlobalTensor<int32_t> CountOf(int64_t unit) const {
    return counts_[unit * kCountInts];
  }

  static constexpr int32_t kCountInts = 8;

 private:
  AscendC::GlobalTensor<uint64_t> masks_;
  AscendC::GlobalTensor<int32_t> counts_;
};

__aicore__ inline BlockIndex ForwardIndex(const AttentionParams& params, GM_ADDR workspace, int64_t parity) {
  const BlockArea area = BlockAreaOf(params, parity);
  return {workspace + area.masks, workspace + area.counts};
}

// Builds the units of one AIV.
class BlockIndexBuilder {
 public:
  __aicore__ inline BlockIndexBuilder(const AttentionParams& params, const AttentionAddresses& gm,
                                      UnifiedBuffer& ub)
      : p_(params), ub_(ub) {
    indices_.SetGlobalBuffer(reinterpret_cast<__gm__ int32_t*>(gm.topk_indices));
  }

  // Two masks in turn: one is counted and on its way out while the next is made.
  __aicore__ inline void Build(const Segment& segment, const BlockIndex& index) {
    const int64_t units = segment.Blocks(p_) * p_.kv_heads;
    const int64_t cores = AscendC::GetBlockNum() * kVectorCores, core = AscendC::GetBlockIdx();
    const int64_t first = Quota(units, core, cores), end = Quota(units, core + 1, cores);
    head_ = -1;
    for (int32_t buffer = 0; buffer < 2; ++buffer) AscendC::SetFlag<AscendC::HardEvent::MTE3_V>(buffer);
    if (first < end) Compare(segment, first);
    for (int64_t unit = first; unit < end; ++unit) {
      if (unit + 1 < end) Compare(segment, unit + 1);
      Store(segment, index, unit);
    }
    for (int32_t buffer = 0; buffer < 2; ++buffer) AscendC::WaitFlag<AscendC::HardEvent::MTE3_V>(buffer);
    AscendC::PipeBarrier<PIPE_ALL>();
  }

 private:
  static constexpr int32_t kMaskBytes = kSegmentEntries / 8;
  static constexpr int32_t kCountAt = kMaskBytes;  // behind the mask
  static constexpr int32_t kBufferBytes = kCountAt + BlockIndex::kCountInts * 4;
  static constexpr int32_t kEvent = 0;

 public:
  static constexpr int32_t kInBytes = kSegmentEntries * 4;
  static constexpr int32_t kOutBytes = 2 * kBufferBytes;

 private:
  __aicore__ inline int32_t Entries(const Segment& segment) const {
    return RoundUp<int64_t>(segment.tokens * SlotStride(p_), 64);
  }

  // Slots that only fill a row up, and entries that fill the last word, are -1: they select nothing.
  __aicore__ inline void LoadIndices(const Segment& segment, int64_t head) {
    const AscendC::LocalTensor<int32_t> indices = ub_.In<int32_t>(0, kSegmentEntries);
    const int32_t slots = p_.select_block_count, stride = SlotStride(p_);
    AscendC::PipeBarrier<PIPE_ALL>();
    const bool dense = p_.kv_heads == 1 && slots == stride;  // then one burst does
    const uint32_t rows = dense ? 1 : segment.tokens, bytes = (dense ? segment.tokens : 1) * slots * 4;
    AscendC::DataCopyExtParams copy{static_cast<uint16_t>(rows), bytes,
                                    static_cast<uint32_t>((p_.kv_heads - 1) * slots * 4), 0, 0};
    AscendC::DataCopyPadExtParams<int32_t> pad{true, 0, static_cast<uint8_t>(stride - slots), -1};
    AscendC::DataCopyPad(indices, indices_[(segment.row * p_.kv_heads + head) * slots], copy, pad);
    const int32_t used = segment.tokens * stride, filling = Entries(segment) - used;
    if (filling > 0) AscendC::Duplicate(indices[used], -1, filling);
    AscendC::PipeBarrier<PIPE_ALL>();
  }

  __aicore__ inline AscendC::LocalTensor<uint64_t> MaskOf(int64_t unit) {
    return ub_.Out<uint64_t>(unit % 2 * kBufferBytes, kMaskWords);
  }

  __aicore__ inline void Compare(const Segment& segment, int64_t unit) {
    const AscendC::LocalTensor<int32_t> indices = ub_.In<int32_t>(0, kSegmentEntries);
    const int64_t head = unit / segment.Blocks(p_);
    const int32_t buffer = unit % 2;
    if (head != head_) LoadIndices(segment, head);
    head_ = head;
    AscendC::WaitFlag<AscendC::HardEvent::MTE3_V>(buffer);
    AscendC::Compares(MaskOf(unit).template ReinterpretCast<uint8_t>(), indices,
                      static_cast<int32_t>(unit % segment.Blocks(p_)), AscendC::CMPMODE::EQ,
                      static_cast<uint32_t>(Entries(segment)));
    AscendC::SetFlag<AscendC::HardEvent::V_S>(buffer);
  }

  __aicore__ inline void Store(const Segment& segment, const BlockIndex& index, int64_t unit) {
    const int32_t words = Entries(segment) / 64, buffer = unit % 2;
    const AscendC::LocalTensor<uint64_t> mask = MaskOf(unit);
    const AscendC::LocalTensor<int32_t> count =
        ub_.Out<int32_t>(buffer * kBufferBytes + kCountAt, BlockIndex::kCountInts);
    AscendC::WaitFlag<AscendC::HardEvent::V_S>(buffer);
    int32_t ones = 0;
    for (int32_t word = 0; word < words; ++word) ones += CountOnes(mask.GetValue(word));
    AscendC::SetFlag<AscendC::HardEvent::S_V>(kEvent);
    AscendC::WaitFlag<AscendC::HardEvent::S_V>(kEvent);
    AscendC::Duplicate(count, ones, BlockIndex::kCountInts);
    AscendC::SetFlag<AscendC::HardEvent::V_MTE3>(kEvent);
    AscendC::WaitFlag<AscendC::HardEvent::V_MTE3>(kEvent);
    AscendC::DataCopyPad(index.Mask(unit), mask, {1, static_cast<uint32_t>(words * 8), 0, 0, 0});
    AscendC::DataCopy(index.CountOf(unit), count, BlockIndex::kCountInts);
    AscendC::SetFlag<AscendC::HardEvent::MTE3_V>(buffer);
  }

  const AttentionParams& p_;
  AscendC::GlobalTensor<int32_t> indices_;
  UnifiedBuffer& ub_;
  int64_t head_ = -1;  // whose indices are in UB
};

}  // namespace ms_nsa
