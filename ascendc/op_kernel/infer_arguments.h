// The arguments of the paged inference kernel in GM. Lengths, indices and pages are read here, on the device:
// no value of them is known on the host.
#pragma once

#include "infer_workspace.h"
#include "kernel_operator.h"

namespace ms_nsa {

struct InferAddresses {
  GM_ADDR query;
  GM_ADDR key;
  GM_ADDR value;
  GM_ADDR topk_indices;
  GM_ADDR atten_mask;
  GM_ADDR block_table;
  GM_ADDR q_lens;
  GM_ADDR kv_lens;
  GM_ADDR attention_out;
  GM_ADDR workspace;
};

// The Source of parts.h. These tensors were written before the kernel started, so that reading them through
// the scalar unit's data cache is safe.
class InferSource {
 public:
  __aicore__ inline InferSource(const InferParams& params, const InferAddresses& gm) : params_(params) {
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
  __aicore__ inline bool Dropped(int64_t index, int64_t row) const {
    return dropped_.GetValue(index * params_.atten_mask_cols + row) != 0;
  }

 private:
  const InferParams& params_;
  AscendC::GlobalTensor<int32_t> indices_, pages_;
  AscendC::GlobalTensor<uint8_t> dropped_;
  AscendC::GlobalTensor<int64_t> q_lens_, kv_lens_;
};

// The workspace area of one core (AIC and its AIVs), and the tensors that both halves agree on.
template <class T>
struct InferExchange {
  AscendC::GlobalTensor<float> scores, products;
  AscendC::GlobalTensor<T> weights;

  __aicore__ inline InferExchange(const InferParams& params, GM_ADDR workspace, int64_t core) {
    const InferArea area = AreaOf(params);
    GM_ADDR base = workspace + core * area.bytes;
    scores.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(base + area.scores));
    weights.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(base + area.weights));
    products.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(base + area.products));
  }
};

// Cross-core flags, mode 2. Each orders one hand-over: scores and products from the AIC, weights to it.
constexpr uint16_t kScoresReady = 1, kWeightsReady = 2, kProductsReady = 3;

}  // namespace ms_nsa
