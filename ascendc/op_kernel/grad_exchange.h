// SPDX-License-Identifier: Apache-2.0
// Data that the cores of the gradient exchange through GM in one segment.
#pragma once

#include "block_index.h"
#include "exchange.h"
#include "grad_workspace.h"

namespace ms_nsa {

struct GradAddresses : AttentionAddresses {
  GM_ADDR grad;
  GM_ADDR softmax_max_grad;
  GM_ADDR softmax_sum_grad;
  GM_ADDR dq;
  GM_ADDR dk;
  GM_ADDR dv;
};

template <class T>
struct GradExchange {
  AscendC::GlobalTensor<float> scores, weight_grads;  // of this core: tiles of query rows by strip rows
  AscendC::GlobalTensor<T> weights, score_grads;      // likewise
  AscendC::GlobalTensor<T> queries, grads;            // of this core's tiles
  AscendC::GlobalTensor<float> deltas, tops, used;    // the rest is of all cores: see GradArea
  AscendC::GlobalTensor<float> sums, pieces, key_sums, value_sums;
  BlockIndex index;
  int64_t core_floats;  // from core to core

  __aicore__ inline GradExchange(const AttentionParams& params, GM_ADDR workspace, int64_t core,
                                 int64_t segment)
      : GradExchange(GradAreaOf(params, segment), params, workspace, core) {}

 private:
  __aicore__ inline GradExchange(const GradArea& area, const AttentionParams& params, GM_ADDR workspace,
                                 int64_t core)
      : index(workspace + area.masks, workspace + area.counts) {
    const int64_t ring = int64_t{kRing} * kTileRows * GradCut(params).strip_rows;
    GM_ADDR own = workspace + area.cores + core * area.core_bytes;
    scores.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(own));
    weight_grads.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(own + ring * 4));
    weights.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(own + ring * 8));
    score_grads.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(own + ring * 10));
    GM_ADDR end = own + area.core_bytes - kGmAlign;
    grads.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(end - FetchedBytes(params.d2)));
    queries.SetGlobalBuffer(
        reinterpret_cast<__gm__ T*>(end - FetchedBytes(params.d2) - FetchedBytes(params.d1)));
    deltas.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(workspace + area.deltas));
    tops.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(workspace + area.tops));
    used.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(workspace + area.used));
    core_floats = area.core_bytes / sizeof(float);
    sums.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(workspace + area.sums));
    pieces.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(workspace + area.pieces));
    key_sums.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(workspace + area.key_sums));
    value_sums.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(workspace + area.value_sums));
  }
};

// Where a piece's gradients of the keys lie; those of the values follow, `floats` further.
struct PiecePlace {
  int64_t at;
  int32_t floats;
};

__aicore__ inline PiecePlace PlaceOfPiece(const AttentionParams& p, int64_t piece) {
  const int32_t rows = GradCut(p).strip_rows;
  return {piece * rows * (p.d1 + p.d2), rows * p.d1};
}

}  // namespace ms_nsa
