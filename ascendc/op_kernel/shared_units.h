// SPDX-License-Identifier: Apache-2.0
// Units that several cores share. What a core leaves of them in the workspace: the statistics of pieces whose
// bundle others have a share in, beside the products, which the AIC left; and the sums of whole bundles. The
// core with the first part adds it all when every core is done.
#pragma once

#include "bundle_sums.h"
#include "parts.h"

namespace ms_nsa {

class SharedUnits {
 public:
  __aicore__ inline SharedUnits(const AttentionParams& params, GM_ADDR workspace, AttentionBuffers& ub,
                                BundleSums& sums, int64_t core, int32_t rows)
      : p_(params), workspace_(workspace), ub_(ub), sums_(sums), core_(core), rows_(rows) {}

  __aicore__ inline void StorePieces(const Step& step) {
    const int32_t place = PlaceOf(p_, step) * kMaxRows;
    const RowStats stats = ub_.PieceStats(step.bundle_ordinal % kSlots);
    const auto gm = StatsOf(core_, SharedSlot(p_, step.bundle, step.part.first_row));
    StartStore();
    AscendC::DataCopy(gm[place], stats.max[place], BothStats(PiecesOf(p_, step)));
    EndStore();
  }

  // A whole bundle of a unit that begins on another core.
  __aicore__ inline void StoreBundle(const Step& step) {
    const auto gm = BundleOf(core_, step.bundle, step.part.first_row);
    StartStore();
    AscendC::DataCopy(gm, sums_.NewStats().max, kStatRows);
    AscendC::DataCopy(gm[kStatRows], sums_.NewStats().sum, kStatRows);
    AscendC::DataCopy(gm[2 * kStatRows], sums_.NewSum(), rows_ * p_.d2);
    EndStore();
  }

  // The bundles that `part`, the first one of its unit, does not have wholly.
  template <class Parts>
  __aicore__ inline void Merge(const Parts& parts, const Part& part) {
    if (part.last_row == part.rows) return;
    const int64_t size = BundleRows(p_);
    for (int64_t bundle = part.last_row / size; bundle * size < part.rows; ++bundle) {
      MergeBundle(parts, part, bundle);
    }
  }

 private:
  // Events of (V, MTE3) and back: not those of attention's results.
  static constexpr int32_t kStores = 3;

  // Of maxima and sums, which lie one behind the other.
  __aicore__ inline static AscendC::DataCopyParams BothStats(int32_t pieces) {
    constexpr int32_t kBlocks = kMaxRows / kBlockFloats;
    const uint16_t blocks = pieces * kBlocks, rest = kPieceStats / kBlockFloats - blocks;
    return {2, blocks, rest, rest};
  }

  __aicore__ inline void StartStore() {
    AscendC::SetFlag<AscendC::HardEvent::V_MTE3>(kStores);
    AscendC::WaitFlag<AscendC::HardEvent::V_MTE3>(kStores);
  }
  // Few of them a core, so that the wait costs nothing that matters.
  __aicore__ inline void EndStore() {
    AscendC::SetFlag<AscendC::HardEvent::MTE3_V>(kStores);
    AscendC::WaitFlag<AscendC::HardEvent::MTE3_V>(kStores);
  }

  __aicore__ inline AscendC::GlobalTensor<float> AtByte(int64_t core, int64_t offset) const {
    AscendC::GlobalTensor<float> gm;
    gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(workspace_ + core * AreaOf(p_).bytes + offset));
    return gm;
  }
  __aicore__ inline AscendC::GlobalTensor<float> StatsOf(int64_t core, int32_t slot) const {
    const int32_t number = (slot - kShared) * kVectorCores + AscendC::GetSubBlockIdx();
    return AtByte(core, AreaOf(p_).shared)[number * 2 * kPieceStats];
  }
  __aicore__ inline AscendC::GlobalTensor<float> BundleOf(int64_t core, int64_t bundle,
                                                          int64_t first_row) const {
    const int64_t number = bundle - CeilDiv(first_row, BundleRows(p_));
    const int64_t of_vector = number * kVectorCores + AscendC::GetSubBlockIdx();
    return AtByte(core, AreaOf(p_).bundles)[of_vector * BundleFloats(p_)];
  }

  template <class Parts>
  __aicore__ inline void MergeBundle(const Parts& parts, const Part& part, int64_t bundle) {
    const RowRange wanted = RowsOfBundle(p_, bundle, part.rows);
    const int32_t piece = PieceRows(p_);
    PieceRun runs[kBundlePieces];
    int32_t count = 0;
    for (int64_t core = core_; core >= 0; core = parts.Follower(part.unit, core + 1)) {
      const RowRange rows = parts.RowsOf(part, core);
      if (Holds(rows, wanted)) return AddBundle(BundleOf(core, bundle, rows.first));
      const int64_t first = Max(rows.first, wanted.first), end = Min(rows.end, wanted.end);
      if (first >= end) continue;
      runs[count++] = {core, SharedSlot(p_, bundle, rows.first),
                       static_cast<int32_t>((first - wanted.first) / piece),
                       static_cast<int32_t>(CeilDiv<int64_t>(end - first, piece))};
    }
    AddPieces(runs, count, CeilDiv<int64_t>(wanted.end - wanted.first, piece));
  }

  __aicore__ inline void AddPieces(const PieceRun* runs, int32_t run_count, int32_t pieces) {
    const int32_t slot = sums_.SpareSlot(), event = BundleSums::kProducts + slot;
    const RowStats stats = ub_.LoadedStats(slot);
    AscendC::WaitFlag<AscendC::HardEvent::V_MTE2>(event);
    for (int32_t run = 0; run < run_count; ++run) {
      const int32_t place = runs[run].first * kMaxRows;
      AscendC::DataCopy(stats.max[place], StatsOf(runs[run].core, runs[run].slot)[place],
                        BothStats(runs[run].count));
    }
    AscendC::SetFlag<AscendC::HardEvent::MTE2_V>(event);
    AscendC::WaitFlag<AscendC::HardEvent::MTE2_V>(event);
    sums_.Weigh(stats, pieces);
    AscendC::SetFlag<AscendC::HardEvent::V_MTE2>(event);
    sums_.Sum(runs, run_count, pieces);
    sums_.Include();
  }

  __aicore__ inline void AddBundle(const AscendC::GlobalTensor<float>& gm) {
    const int32_t slot = sums_.SpareSlot(), event = BundleSums::kProducts + slot;
    const RowStats stats = ub_.LoadedStats(slot);
    const Floats sum = ub_.Product(slot);
    AscendC::WaitFlag<AscendC::HardEvent::V_MTE2>(event);
    AscendC::DataCopy(stats.max, gm, kStatRows);
    AscendC::DataCopy(stats.sum, gm[kStatRows], kStatRows);
    AscendC::DataCopy(sum, gm[2 * kStatRows], rows_ * p_.d2);
    AscendC::SetFlag<AscendC::HardEvent::MTE2_V>(event);
    AscendC::WaitFlag<AscendC::HardEvent::MTE2_V>(event);
    CopyFloats(sums_.NewSum(), sum, rows_ * p_.d2);
    CopyFloats(sums_.NewStats().max, stats.max, kStatRows);
    CopyFloats(sums_.NewStats().sum, stats.sum, kStatRows);
    AscendC::SetFlag<AscendC::HardEvent::V_MTE2>(event);
    sums_.Include();
  }

  const AttentionParams& p_;
  GM_ADDR workspace_;
  AttentionBuffers& ub_;
  BundleSums& sums_;
  int64_t core_;
  int32_t rows_;  // query heads of a group
};

}  // namespace ms_nsa
