// SPDX-License-Identifier: Apache-2.0
// Data that the AIC and the AIVs of a core exchange through GM, and the flags that order the exchange.
#pragma once

#include "attention_workspace.h"
#include "kernel_operator.h"
#include "row_pieces.h"

namespace ms_nsa {

// Of a step's scores: where they begin, and from row to row, in floats.
struct ScorePlace {
  int64_t offset;
  int32_t stride;
};

// Whether scores stay after their step, where the source says.
template <class Source>
constexpr bool kKeepsScores = false;

template <class T>
struct Exchange {
  AscendC::GlobalTensor<float> scores, products;
  AscendC::GlobalTensor<T> weights;

  __aicore__ inline Exchange(const AttentionParams& params, GM_ADDR workspace, int64_t core) {
    const CoreArea area = AreaOf(params);
    GM_ADDR base = workspace + core * area.bytes;
    scores.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(base + area.scores));
    weights.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(base + area.weights));
    products.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(base + area.products));
  }
};

// Where the product of a step's first piece goes, in floats; that of the next one lies behind.
template <class Step>
__aicore__ inline int64_t ProductOf(const AttentionParams& p, const Step& step) {
  const int64_t slot =
      step.whole ? step.bundle_ordinal % kShared : SharedSlot(p, step.bundle, step.part.first_row);
  return (slot * kBundlePieces + step.row / PieceRows(p) % kBundlePieces) * p.group * p.d2;
}

template <class Source, class Step>
__aicore__ inline ScorePlace PlaceOfScores(const AttentionParams& p, const Source& source, const Step& step) {
  if constexpr (kKeepsScores<Source>) {
    return source.PlaceOfScores(step);
  } else {
    return {step.ordinal % kSlots * p.group * p.chunk_rows, p.chunk_rows};
  }
}

// Cross-core flags, mode 2: scores and products from the AIC, weights and fetched rows to it, and that the
// scores of a round are read.
constexpr uint16_t kScoresReady = 1, kWeightsReady = 2, kProductsReady = 3, kRowsReady = 4, kBlocksChosen = 5;

// Of the gradient, likewise: the AIC has done with a segment; to it, the index of the next one is there.
constexpr uint16_t kSegmentDone = 6, kIndexReady = 7;
// Mode 0, among all AIVs: the next segment may begin; every AIC has done with the one before.
constexpr uint16_t kPrepared = 8, kPartsReady = 9;

}  // namespace ms_nsa
