// SPDX-License-Identifier: Apache-2.0
// Gradient of the training forward. For each (sequence, kv head), every dK and dV row has one writer, and the
// chunks of tokens are processed in order. So there are no atomics, and sums do not depend on the number of
// threads.
#pragma once

#include "../heap_sort.h"
#include "../threads.h"
#include "backward_worker.h"

namespace ms_nsa {
namespace {

template <class Dot, class E>
class Backward {
 public:
  using V = typename Dot::Vec;
  using Storage = typename E::Storage;
  using Worker = BackwardWorker<Dot, E>;

  explicit Backward(const PackedAttentionGradParams& p)
      : p_(p),
        in_(p.in),
        chunks_(in_, kChunkBytes / Worker::BytesPerRow(in_)),
        owners_(in_.batch * in_.n2),
        parts_(Max(1, CeilDiv(kBackwardTasks, in_.n2))),
        shared_(parts_ > 1 && owners_ < kBackwardTasks),
        max_rows_(chunks_.max_tokens() * (in_.n1 / in_.n2)),
        dq_size_(GradShare<V>::Size(max_rows_, in_.d1)),
        dk_stride_(RoundUp(in_.d1, V::kLanes)),
        dv_stride_(RoundUp(in_.d2, V::kLanes)),
        threads_(Team(shared_ ? owners_ * parts_ : owners_, in_.max_threads).threads),
        scratch_size_(ScratchSize()),
        memory_(Layout(nullptr)) {
    Layout(memory_.get());
  }

  void Run() {
    ClearSpare();
    shared_ ? RunParts() : RunOwners();
  }

 private:
  // Rows of key and value that belong to no sequence.
  void ClearSpare() const {
    const int64_t used = Before(in_.actual_seq_kvlen, in_.batch), spare = (in_.t2 - used) * in_.n2;
    const int64_t element = sizeof(Storage);
    std::memset(static_cast<char*>(p_.dk) + used * in_.n2 * in_.d1 * element, 0, spare * in_.d1 * element);
    std::memset(static_cast<char*>(p_.dv) + used * in_.n2 * in_.d2 * element, 0, spare * in_.d2 * element);
  }

  // Owners enough: each goes through its chunks alone.
  void RunOwners() {
    const Buffer<int32_t> order(owners_);
    LongestFirst(order.get());
#pragma omp parallel num_threads(threads_) if (threads_ > 1)
    {
      const FloatEnvironment environment;
      const typename Dot::Registers registers;
      Arena arena(scratch_ + TeamMember() * scratch_size_);
      Worker worker(arena, p_, chunks_);
      CommonKey<V, E> common(arena, in_);
#pragma omp for schedule(dynamic, 1)
      for (int64_t i = 0; i < owners_; ++i)
        RunOwner(worker, common, order[i], dq_ + TeamMember() * parts_ * dq_size_);
    }
  }

  void RunOwner(Worker& worker, CommonKey<V, E>& common, int64_t owner, float* dq) {
    ClearKv(owner, 0, 1);
    for (int64_t c = 0; c < chunks_.count(owner / in_.n2); ++c) {
      const auto chunk = chunks_.At(owner / in_.n2, owner % in_.n2, c);
      worker.Run(chunk, {0, 1}, GradsOf(owner), Shares(dq, parts_));
      for (int64_t token = 0; token < chunk.tokens; ++token) WriteQuery(chunk, token, dq, common);
      BalanceKeys(chunk, GradsOf(owner), dq);
    }
    WriteKv(owner, 0, 1);
  }

  // Few owners: their kv blocks are dealt out to parts, all at the same chunk.
  void RunParts() {
    const int64_t tasks = owners_ * parts_;
    const int64_t rounds = chunks_.max_count(), tokens = chunks_.max_tokens();
#pragma omp parallel num_threads(threads_) if (threads_ > 1)
    {
      const FloatEnvironment environment;
      const typename Dot::Registers registers;
      Arena arena(scratch_ + TeamMember() * scratch_size_);
      Worker worker(arena, p_, chunks_);
      CommonKey<V, E> common(arena, in_);
#pragma omp for schedule(dynamic, 1)
      for (int64_t i = 0; i < tasks; ++i) ClearKv(i / parts_, i % parts_, parts_);
      for (int64_t c = 0; c < rounds; ++c) {
#pragma omp for schedule(dynamic, 1)
        for (int64_t i = 0; i < tasks; ++i) {
          const int64_t owner = i / parts_;
          if (c >= chunks_.count(owner / in_.n2)) continue;
          worker.Run(chunks_.At(owner / in_.n2, owner % in_.n2, c), {i % parts_, parts_}, GradsOf(owner),
                     Shares(dq_ + i * dq_size_, 1));
        }
#pragma omp for schedule(static)
        for (int64_t i = 0; i < owners_ * tokens; ++i) {
          const int64_t owner = i / tokens;
          if (c >= chunks_.count(owner / in_.n2)) continue;
          const auto chunk = chunks_.At(owner / in_.n2, owner % in_.n2, c);
          if (i % tokens < chunk.tokens)
            WriteQuery(chunk, i % tokens, dq_ + owner * parts_ * dq_size_, common);
        }
#pragma omp for schedule(static)
        for (int64_t owner = 0; owner < owners_; ++owner) {
          if (c >= chunks_.count(owner / in_.n2)) continue;
          const auto chunk = chunks_.At(owner / in_.n2, owner % in_.n2, c);
          BalanceKeys(chunk, GradsOf(owner), dq_ + owner * parts_ * dq_size_);
        }
      }
#pragma omp for schedule(dynamic, 1)
      for (int64_t i = 0; i < tasks; ++i) WriteKv(i / parts_, i % parts_, parts_);
    }
  }

  // One allocation for all: the C library then keeps it for the next call instead of giving its pages back.
  int64_t Layout(char* memory) {
    Arena arena(memory);
    dk_ = arena.Take<float>(in_.t2 * in_.n2 * dk_stride_);
    dv_ = arena.Take<float>(in_.t2 * in_.n2 * dv_stride_);
    dq_ = arena.Take<float>((shared_ ? owners_ : threads_) * parts_ * dq_size_);
    scratch_ = arena.Take<char>(threads_ * scratch_size_);
    return arena.used();
  }

  int64_t ScratchSize() const {
    Arena sizing;
    Worker(sizing, p_, chunks_);
    CommonKey<V, E>(sizing, in_);
    return sizing.used();
  }

  void LongestFirst(int32_t* order) const {
    for (int64_t i = 0; i < owners_; ++i) order[i] = static_cast<int32_t>(i);
    HeapSort(order, owners_, [this](int32_t a, int32_t b) {
      const int64_t x = SequenceAt(in_, a / in_.n2).q_len, y = SequenceAt(in_, b / in_.n2).q_len;
      return x != y ? x > y : a < b;
    });
  }

  KvGrads GradsOf(int64_t owner) const {
    const int64_t row = FirstKvRow(owner);
    return {dk_ + row * dk_stride_, dv_ + row * dv_stride_, dk_stride_, dv_stride_};
  }

  // Accumulators lie [sequence][head][kv row], so that an owner's are contiguous.
  int64_t FirstKvRow(int64_t owner) const {
    const Sequence seq = SequenceAt(in_, owner / in_.n2);
    return seq.kv_start * in_.n2 + owner % in_.n2 * seq.kv_len;
  }

  void ClearKv(int64_t owner, int64_t part, int64_t parts) const {
    const int64_t length = SequenceAt(in_, owner / in_.n2).kv_len;
    const int64_t begin = length * part / parts, rows = length * (part + 1) / parts - begin;
    const KvGrads grads = GradsOf(owner);
    std::memset(grads.dk + begin * dk_stride_, 0, rows * dk_stride_ * sizeof(float));
    std::memset(grads.dv + begin * dv_stride_, 0, rows * dv_stride_ * sizeof(float));
  }

  void WriteKv(int64_t owner, int64_t part, int64_t parts) const {
    const Sequence seq = SequenceAt(in_, owner / in_.n2);
    const KvGrads grads = GradsOf(owner);
    for (int64_t i = seq.kv_len * part / parts; i < seq.kv_len * (part + 1) / parts; ++i) {
      const int64_t to = (seq.kv_start + i) * in_.n2 + owner % in_.n2;
      StoreRow<V, E>(static_cast<Storage*>(p_.dk) + to * in_.d1, grads.dk + i * dk_stride_, in_.d1);
      StoreRow<V, E>(static_cast<Storage*>(p_.dv) + to * in_.d2, grads.dv + i * dv_stride_, in_.d2);
    }
  }

  // Adds the parts' shares into the first and stores it.
  void WriteQuery(const ChunkList::Item& chunk, int64_t token, float* dq, CommonKey<V, E>& common) const {
    const int64_t group = in_.n1 / in_.n2;
    const float* common_key = Dot::kBalanced ? common.Find(chunk, token) : nullptr;
    const QueryGradShares<V> shares = Shares(dq, parts_);
    const GradShare<V> sum = shares.At(0);
    for (int64_t g = 0; g < group; ++g) {
      const int64_t row = token * group + g, to = QueryRow(in_, chunk, row);
      for (int64_t part = 1; part < parts_; ++part) sum.AddRow(shares.At(part), row);
      if constexpr (Dot::kBalanced) Balance(chunk, sum, row, common_key);
      StoreRow<V, E>(static_cast<Storage*>(p_.dq) + to * in_.d1, sum.gradient(row), in_.d1);
    }
  }

  // Takes the surplus of the row's score gradients back from dQ, and leaves in sums()[0] what BalanceKeys is
  // to take from the top key.
  void Balance(const ChunkList::Item& chunk, const GradShare<V>& share, int64_t row,
               const float* common_key) const {
    const int64_t saved = QueryRow(in_, chunk, row) * kStatLanes;
    const float sum = p_.softmax_sum[saved];
    float surplus = share.Sum(row) - in_.scale_value * sum * LaneSum(p_.softmax_sum_grad, saved);
    if (!(surplus - surplus == 0.0f)) surplus = 0.0f;  // where results are not finite
    const float top_weight = 1.0f / (sum < 1.0f ? 1.0f : sum);
    const float of_top = share.top(row) < 0 ? 0.0f : surplus * top_weight;
    float* gradient = share.gradient(row);
    if (common_key != nullptr) AddScaledRow<V, Fp32<V>>(gradient, of_top - surplus, common_key, in_.d1);
    if (of_top != 0.0f)
      TakeBackTop<V, E>(gradient, of_top, top_weight, KeyAt<Storage>(in_, chunk, share.top(row)), in_.d1);
    share.sums(row)[0] = of_top;
  }

  // In the order of the rows, since they may have the same key.
  void BalanceKeys(const ChunkList::Item& chunk, const KvGrads& grads, float* dq) const {
    if constexpr (!Dot::kBalanced) return;
    const GradShare<V> share = Shares(dq, parts_).At(0);
    for (int64_t row = 0; row < chunk.tokens * (in_.n1 / in_.n2); ++row) {
      const float of_top = share.sums(row)[0];
      if (of_top == 0.0f) continue;
      const auto* query = static_cast<const Storage*>(in_.query) + QueryRow(in_, chunk, row) * in_.d1;
      AddScaledRow<V, E>(grads.dk + share.top(row) * dk_stride_, -of_top, query, in_.d1);
    }
  }

  QueryGradShares<V> Shares(float* dq, int64_t count) const { return {dq, count, max_rows_, in_.d1}; }

  const PackedAttentionGradParams& p_;
  const PackedAttentionInputs& in_;
  const ChunkList chunks_;
  const int64_t owners_;  // (sequence, kv head) pairs
  // dQ is the sum of parts_ shares, in order; block b belongs to share b % parts_. The number depends only on
  // the heads, so that a sequence's gradient does not depend on the batch.
  const int64_t parts_;
  const bool shared_;  // an owner's parts are tasks of their own
  const int64_t max_rows_, dq_size_, dk_stride_, dv_stride_;
  const int threads_;
  const int64_t scratch_size_;
  float* dk_;
  float* dv_;
  float* dq_;  // of a chunk, in shares: one for each thread, or for each owner
  char* scratch_;
  const Buffer<char> memory_;
};

template <class Dot, class E>
void PackedAttentionGrad(const PackedAttentionGradParams& p) {
  Backward<Dot, E>(p).Run();
}

}  // namespace
}  // namespace ms_nsa
