// SPDX-License-Identifier: Apache-2.0
// What the schedule reads in GM: indices, mask, lengths, pages. No value of them is known on the host. They
// were written before the kernel started, so that the scalar unit's data cache cannot hold older ones.
#pragma once

#include "attention_params.h"
#include "kernel_operator.h"
#include "packed_tokens.h"
#include "paged_tokens.h"

namespace ms_nsa {

struct AttentionAddresses {
  GM_ADDR query;
  GM_ADDR key;
  GM_ADDR value;
  GM_ADDR topk_indices;
  GM_ADDR atten_mask;
  GM_ADDR block_table;
  GM_ADDR q_lens;
  GM_ADDR kv_lens;
  GM_ADDR attention_out;
  GM_ADDR softmax_max;
  GM_ADDR softmax_sum;
  GM_ADDR workspace;
};

class GmSource {
 public:
  __aicore__ inline GmSource(const AttentionParams& params, const AttentionAddresses& gm) : params_(params) {
    indices_.SetGlobalBuffer(reinterpret_cast<__gm__ int32_t*>(gm.topk_indices));
    pages_.SetGlobalBuffer(reinterpret_cast<__gm__ int32_t*>(gm.block_table));
    dropped_.SetGlobalBuffer(reinterpret_cast<__gm__ uint8_t*>(gm.atten_mask));
    q_lens_.SetGlobalBuffer(reinterpret_cast<__gm__ int64_t*>(gm.q_lens));
    kv_lens_.SetGlobalBuffer(reinterpret_cast<__gm__ int64_t*>(gm.kv_lens));
  }

  __aicore__ inline int64_t QLen(int64_t sequence) const { return q_lens_.GetValue(sequence); }
  __aicore__ inline int64_t KvLen(int64_t sequence) const { return kv_lens_.GetValue(sequence); }
  __aicore__ inline int64_t Index(int64_t token, int32_t head, int32_t slot) const {
    return indices_.GetValue((token * params_.kv_heads + head) * params_.select_block_count + slot);
  }
  __aicore__ inline int64_t Page(int64_t sequence, int64_t slot) const {
    return pages_.GetValue(sequence * params_.max_blocks + slot);
  }
  // The work is done in rounds of so many tokens.
  __aicore__ inline int64_t RoundTokens() const { return params_.tokens; }
  // Of keys or values, in elements: from row to row of a run, which never leaves its page, and where a row of
  // a head begins.
  __aicore__ inline int64_t CacheStride(int32_t width) const {
    return params_.heads_first ? width : int64_t{params_.kv_heads} * width;
  }
  __aicore__ inline int64_t CacheOffset(int64_t row, int32_t head, int32_t width) const {
    if (!params_.heads_first) return (row * params_.kv_heads + head) * width;
    const int64_t rows = params_.page_block_size;
    return ((row / rows * params_.kv_heads + head) * rows + row % rows) * width;
  }
  __aicore__ inline bool Dropped(int64_t mask_row, int64_t column) const {
    return dropped_.GetValue(mask_row * params_.atten_mask_cols + column) != 0;
  }

 private:
  const AttentionParams& params_;
  AscendC::GlobalTensor<int32_t> indices_, pages_;
  AscendC::GlobalTensor<uint8_t> dropped_;
  AscendC::GlobalTensor<int64_t> q_lens_, kv_lens_;
};

class PagedSource : public GmSource {
 public:
  static constexpr bool kPaged = true;
  using Tokens = PagedTokens<PagedSource>;
  using GmSource::GmSource;
};

class PackedSource : public GmSource {
 public:
  static constexpr bool kPaged = false;
  using Tokens = PackedTokens<PackedSource>;
  using GmSource::GmSource;
};

}  // namespace ms_nsa
