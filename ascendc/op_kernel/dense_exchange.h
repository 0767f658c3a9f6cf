// SPDX-License-Identifier: Apache-2.0
// What the dense schedule reads in GM beside tensors, and what the AIC and the AIVs of a core exchange.
#pragma once

#include "dense_tiles.h"
#include "dense_workspace.h"
#include "exchange.h"

namespace ms_nsa {

struct DenseAddresses {
  GM_ADDR query;
  GM_ADDR key;
  GM_ADDR value;
  GM_ADDR topk_mask;
  GM_ADDR atten_mask;
  GM_ADDR q_lens;
  GM_ADDR kv_lens;  // of raw rows; those of the queries where none are given
  GM_ADDR attention_out;
  GM_ADDR topk_indices;
  GM_ADDR softmax_max;
  GM_ADDR softmax_sum;
  GM_ADDR workspace;
};

class DenseSource {
 public:
  __aicore__ inline DenseSource(const DenseParams& params, const DenseAddresses& gm) : params_(params) {
    dropped_.SetGlobalBuffer(reinterpret_cast<__gm__ uint8_t*>(gm.atten_mask));
    forced_.SetGlobalBuffer(reinterpret_cast<__gm__ uint8_t*>(gm.topk_mask));
    q_lens_.SetGlobalBuffer(reinterpret_cast<__gm__ int64_t*>(gm.q_lens));
    kv_lens_.SetGlobalBuffer(reinterpret_cast<__gm__ int64_t*>(gm.kv_lens));
  }

  __aicore__ inline int64_t QLen(int64_t sequence) const { return q_lens_.GetValue(sequence); }
  __aicore__ inline int64_t KvLen(int64_t sequence) const { return kv_lens_.GetValue(sequence); }
  __aicore__ inline bool Dropped(int64_t index, int64_t column) const {
    return dropped_.GetValue(index * params_.attention.atten_mask_cols + column) != 0;
  }
  __aicore__ inline bool Forced(int64_t index, int64_t block) const {
    return forced_.GetValue(index * params_.topk_mask_cols + block) != 0;
  }

 private:
  const DenseParams& params_;
  AscendC::GlobalTensor<uint8_t> dropped_, forced_;
  AscendC::GlobalTensor<int64_t> q_lens_, kv_lens_;
};

constexpr uint16_t kTableReady = 5;  // cross-core flag, mode 2, to the AIC

template <class T>
struct DenseExchange {
  AscendC::GlobalTensor<float> scores, products, parts, tops;
  AscendC::GlobalTensor<T> weights, queries, overlap;
  AscendC::GlobalTensor<int64_t> again;

  __aicore__ inline DenseExchange(const DenseParams& params, GM_ADDR workspace, int64_t core) {
    const DenseArea area = DenseAreaOf(params);
    GM_ADDR own = workspace + core * area.bytes;
    scores.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(own));
    weights.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(own + area.weights));
    products.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(own + area.products));
    queries.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(own + area.queries));
    parts.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(own + area.parts));
    tops.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(own + area.tops));
    overlap.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(own + area.overlap));
    again.SetGlobalBuffer(reinterpret_cast<__gm__ int64_t*>(own + area.again));
  }
};

// A value that is not finite reaches all tokens of a tile, those too that do not see its row: 0 * NaN is NaN.
// Tiles with such a result are made anew, token by token; these are their numbers, in ascending order, from
// each AIV.
class AgainList {
 public:
  __aicore__ inline AgainList(const DenseParams& params, const AscendC::GlobalTensor<int64_t>& lists)
      : lists_(lists), ints_(AgainInts(params)) {}

  __aicore__ inline void Add(int32_t aiv, int64_t number) { Put(aiv * ints_ + ++count_, number); }
  __aicore__ inline void Close(int32_t aiv) { Put(aiv * ints_, count_); }

  // After all have closed theirs.
  __aicore__ inline void Open() {
    AscendC::DataCacheCleanAndInvalid<int64_t, AscendC::CacheLine::ENTIRE_DATA_CACHE,
                                      AscendC::DcciDst::CACHELINE_OUT>(lists_);
    for (int32_t aiv = 0; aiv < kVectorCores; ++aiv) {
      at_[aiv] = aiv * ints_ + 1;
      end_[aiv] = at_[aiv] + lists_.GetValue(aiv * ints_);
    }
  }
  __aicore__ inline bool Empty() const { return at_[0] == end_[0] && at_[1] == end_[1]; }

  // Numbers are asked for in ascending order.
  __aicore__ inline bool Has(int64_t number) {
    bool found = false;
    for (int32_t aiv = 0; aiv < kVectorCores; ++aiv) {
      while (at_[aiv] < end_[aiv] && lists_.GetValue(at_[aiv]) < number) ++at_[aiv];
      found = found || (at_[aiv] < end_[aiv] && lists_.GetValue(at_[aiv]) == number);
    }
    return found;
  }

 private:
  __aicore__ inline void Put(int64_t at, int64_t value) {
    AscendC::GlobalTensor<int64_t> place = lists_[at];
    place.SetValue(0, value);
    AscendC::DataCacheCleanAndInvalid<int64_t, AscendC::CacheLine::SINGLE_CACHE_LINE,
                                      AscendC::DcciDst::CACHELINE_OUT>(place);
  }

  AscendC::GlobalTensor<int64_t> lists_;
  int64_t ints_, count_ = 0;
  int64_t at_[kVectorCores] = {0, 0}, end_[kVectorCores] = {0, 0};
};

// The tokens of the listed tiles, one by one.
class AgainWalk {
 public:
  __aicore__ inline AgainWalk(const DenseParams& params, const DenseSource& source, int64_t core,
                              const AgainList& list)
      : params_(params), tiles_(params, source, core, AscendC::GetBlockNum()), list_(list) {}

  __aicore__ inline bool Next(DenseTile& tile) {
    while (token_ >= tile_.tokens) {
      token_ = 0;
      do {
        tile_.tokens = 0;
        if (!tiles_.Next(tile_)) return false;
      } while (!list_.Has(tile_.number));
    }
    tile = TileAt(params_, tile_.span, tile_.index + token_++, 1, tile_.head, tile_.number);
    return true;
  }

 private:
  const DenseParams& params_;
  DenseTileWalk<DenseSource> tiles_;
  AgainList list_;
  DenseTile tile_{};
  int32_t token_ = 0;
};

}  // namespace ms_nsa
