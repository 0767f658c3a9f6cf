// Decode over a paged cache. Each task streams its visible rows through in tiles, with an online softmax;
// while one tile is worked on the rows of the next, be it another task's, are fetched.
#pragma once

#include <type_traits>

#include "decode_merge.h"
#include "decode_scores.h"
#include "decode_softmax.h"
#include "element.h"
#include "paged_rows.h"
#include "row_prefetch.h"
#include "threads.h"
#include "weighted_sum.h"

namespace ms_nsa {
namespace {

template <class Dot, class E, class Scores>
class DecodeWorker {
 public:
  using V = typename Dot::Vec;
  using Reg = typename Dot::Reg;
  using Operand = typename Dot::Operand;
  using S = typename E::Storage;
  static constexpr int kHeads = Scores::kHeads;
  using Layout = ScoreLayout<Dot, kHeads>;
  // Heads whose values are added together: a tile of the weighted sum, within one head group.
  static constexpr int64_t kValueHeads = Min(kHeads, 4);
  static constexpr int64_t kTileStep = Max(Layout::kStep, Scores::kKeys);

  DecodeWorker(Arena& arena, const PagedAttentionParams& p, const DecodeTasks& tasks,
               const PartialResults& partial)
      : p_(p),
        tasks_(tasks),
        partial_(partial),
        group_(p.n1 / p.n2),
        head_groups_(CeilDiv(group_, kHeads)),
        key_width_(RowStride<Dot>(p.d1)),
        value_width_(RowStride<Dot>(p.d2)),
        tile_rows_(RoundUp(DecodeRows(group_), kTileStep)),
        query_size_(Scores::QuerySize(p.d1)),
        split_(tasks.parts() > 1),
        rows_(arena, p),
        query_(arena.Take<Operand>(head_groups_ * query_size_)),
        out_(arena.Take<float>(group_ * value_width_)),
        score_(arena.Take<float>(head_groups_ * kDecodeRows * kHeads)),
        probability_(arena.Take<Operand>(head_groups_ * kDecodeRows * kHeads)),
        factor_(arena.Take<float>(head_groups_ * V::kLanes)),
        statistics_(arena.Take<HeadStatistics<Dot>>(head_groups_)),
        zeros_(arena.Take<S>(Max(key_width_, value_width_))),
        key_copy_(arena.Take<S>(key_width_ == p.d1 ? 0 : kDecodeRows * key_width_)),
        value_copy_(arena.Take<S>(value_width_ == p.d2 ? 0 : kDecodeRows * value_width_)) {}

  // Takes tasks from next_task, which all threads share, until there are none.
  void Run(int64_t* next_task) {
    std::memset(zeros_, 0, Max(key_width_, value_width_) * sizeof(S));
    for (RowTile<S>& tile : tile_) NextTile(next_task, tile);
    for (int i = 0; !tile_[i].empty; i = (i + 1) % kTiles) {
      RowTile<S>& tile = tile_[i];
      if (tile.first) Start(tile.task);
      if (tile.count > 0) RunTile(tile, tile_[(i + 1) % kTiles]);
      if (tile.last) Finish(tile.task);
      NextTile(next_task, tile);
    }
  }

 private:
  void NextTile(int64_t* next_task, RowTile<S>& tile) {
    tile.count = 0;
    tile.first = rows_done_;
    if (rows_done_) {
      const int64_t i = __atomic_fetch_add(next_task, 1, __ATOMIC_RELAXED);
      tile.empty = i >= tasks_.size();
      if (tile.empty) return;
      task_ = tasks_.At(i);
      rows_.Start(task_, tasks_.parts());
    }
    tile.empty = false;
    tile.task = task_;
    rows_.Fill(tile, tile_rows_);
    tile.last = rows_done_ = rows_.done();
  }

  void Start(const DecodeTask& task) {
    const S* query =
        static_cast<const S*>(p_.query) + (TokenRow(p_, task) * p_.n1 + task.head * group_) * p_.d1;
    for (int64_t i = 0; i < head_groups_; ++i) {
      Scores::PackQuery(query + i * kHeads * p_.d1, Min(kHeads, group_ - i * kHeads), p_.d1,
                        query_ + i * query_size_);
      statistics_[i] = {V::Set1(kNegativeInfinity), V::Zero()};
    }
    std::memset(out_, 0, group_ * value_width_ * sizeof(float));
  }

  // While the tile's keys are scored its values are fetched; while those are added the next tile's keys are.
  void RunTile(RowTile<S>& tile, const RowTile<S>& next) {
    const int64_t keys = RoundUp(tile.count, kTileStep);
    const RowList<S> next_keys{next.key, next.count, p_.d1}, next_values{next.value, next.count, p_.d2};
    RowPrefetch<S> values({tile.value, tile.count, p_.d2}, next_keys, keys / Scores::kKeys);
    // Rows that are not whole vectors are copied and padded: loads beyond a row would reach its neighbour.
    if (key_width_ != p_.d1) PadRows(tile.key, tile.count, p_.d1, key_width_, key_copy_);
    for (int64_t i = tile.count; i < keys; ++i) tile.key[i] = zeros_;
    Score(tile, keys, values);
    for (int64_t i = 0; i < head_groups_; ++i) {
      const int64_t at = i * kDecodeRows * kHeads;
      DecodeSoftmax<Dot, kHeads>(score_ + at, keys / Layout::kVectorKeys, tile.count, p_.scale_value,
                                 statistics_[i], probability_ + at, factor_ + i * V::kLanes);
    }
    if (value_width_ != p_.d2) PadRows(tile.value, tile.count, p_.d2, value_width_, value_copy_);
    tile.value[tile.count] = zeros_;
    AddValues(tile, next_keys, next_values);
  }

  void AddValues(const RowTile<S>& tile, const RowList<S>& next_keys, const RowList<S>& next_values) {
    const int64_t tiles = CeilDiv(Min(kHeads, group_), kValueHeads) * head_groups_;
    const int64_t panels = CeilDiv(value_width_, PanelColumns<Dot>(kValueHeads));
    RowPrefetch<S> prefetch(next_keys, next_values, tiles * panels * CeilDiv(tile.count, kWeightedRows));
    for (int64_t h = 0; h < group_; h += kValueHeads) {
      const int64_t in_group = h % kHeads, heads = Min(kValueHeads, group_ - h);
      WeightedSum<Dot, E>(
          static_cast<int>(heads),
          {tile.value, tile.count, value_width_,
           probability_ + h / kHeads * kDecodeRows * kHeads + in_group * Dot::kPair, kHeads * Dot::kPair,
           out_ + h * value_width_, factor_ + h / kHeads * V::kLanes + in_group},
          prefetch);
    }
  }

  void PadRows(const S** row, int64_t count, int64_t width, int64_t padded, S* copy) {
    for (int64_t i = 0; i < count; ++i, copy += padded) {
      std::memcpy(copy, row[i], width * sizeof(S));
      std::memset(copy + width, 0, (padded - width) * sizeof(S));
      row[i] = copy;
    }
  }

  void Score(const RowTile<S>& tile, int64_t keys, RowPrefetch<S>& values) {
    for (int64_t i = 0; i < keys; i += Scores::kKeys) {
      values.NextPortion();
      const S* key[Scores::kKeys];
      for (int k = 0; k < Scores::kKeys; ++k) {
        key[k] = tile.key[Layout::Key((i + k) / Layout::kVectorKeys, (i + k) % Layout::kVectorKeys)];
      }
      for (int64_t g = 0; g < head_groups_; ++g) {
        Scores::Score(key, query_ + g * query_size_, p_.d1, score_ + (g * kDecodeRows + i) * kHeads);
      }
    }
  }

  void Finish(const DecodeTask& task) {
    const HeadResults part = partial_.At(task.index);
    const int64_t row = TokenRow(p_, task) * p_.n1 + task.head * group_;
    for (int64_t h = 0; h < group_; ++h) {
      const HeadStatistics<Dot>& of = statistics_[h / kHeads];
      float max[V::kLanes], lane[V::kLanes], sum = 0.0f;
      V::Store(max, of.max);
      V::Store(lane, of.sum);
      for (int64_t i = h % kHeads; i < V::kLanes; i += kHeads) sum += lane[i];
      const float* out = out_ + h * value_width_;
      if (split_) {
        std::memcpy(part.out + h * value_width_, out, value_width_ * sizeof(float));
        part.max[h] = max[h % kHeads];
        part.sum[h] = sum;
      } else {
        StoreRow<V, E>(static_cast<S*>(p_.attention_out) + (row + h) * p_.d2, out, p_.d2,
                       sum == 0.0f ? 1.0f : sum);
      }
    }
  }

  const PagedAttentionParams& p_;
  const DecodeTasks& tasks_;
  const PartialResults& partial_;
  const int64_t group_, head_groups_, key_width_, value_width_, tile_rows_, query_size_;
  const bool split_;
  PagedRows<S> rows_;
  DecodeTask task_{};
  bool rows_done_ = true;
  static constexpr int kTiles = 2;  // the one that is worked on and the next two
  RowTile<S> tile_[kTiles];
  Operand* query_;  // packed, for each head group
  float* out_;      // [head][value_width_], not yet divided by the sum
  float* score_;
  Operand* probability_;
  float* factor_;
  HeadStatistics<Dot>* statistics_;
  S* zeros_;  // stands for rows that complete a vector
  S* key_copy_;
  S* value_copy_;
};

template <class V, class E>
inline void MergeItem(const PagedAttentionParams& p, const DecodeTasks& tasks, const PartialResults& partial,
                      int64_t item, int64_t width) {
  const int64_t first_task = item * tasks.parts(), group = p.n1 / p.n2;
  const DecodeTask task = tasks.At(first_task);
  auto* out = static_cast<typename E::Storage*>(p.attention_out);
  const int64_t row = TokenRow(p, task) * p.n1 + task.head * group;
  for (int64_t h = 0; h < group; ++h) {
    const float sum = MergeParts<V>(partial, first_task, tasks.parts(), h, width);
    StoreRow<V, E>(out + (row + h) * p.d2, partial.At(first_task).out + h * width, p.d2,
                   sum == 0.0f ? 1.0f : sum);
  }
}

template <class Dot, class E, class Scores>
void DecodeWith(const PagedAttentionParams& p, const DecodeTasks& tasks) {
  using Worker = DecodeWorker<Dot, E, Scores>;
  const int64_t value_width = RowStride<Dot>(p.d2);
  const PartialResults partial(tasks, p.n1 / p.n2, value_width);
  Arena sizing;
  Worker(sizing, p, tasks, partial);
  const int64_t size = sizing.used();
  const bool small = tasks.CacheBytes(sizeof(typename E::Storage)) < kOneThreadBytes;
  const int threads = small ? 1 : TeamSize(tasks.size());
  const Buffer<char> memory(threads * size);
  const int64_t split_items = tasks.parts() > 1 ? tasks.items() : 0;
  int64_t next_task = 0;
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    Arena arena(memory.get() + TeamMember() * size);
    Worker(arena, p, tasks, partial).Run(&next_task);
#pragma omp barrier
#pragma omp for
    for (int64_t i = 0; i < split_items; ++i) {
      MergeItem<typename Dot::Vec, E>(p, tasks, partial, i, value_width);
    }
  }
}

template <class Dot, class E>
void PagedAttention(const PagedAttentionParams& p) {
  const DecodeTasks tasks(p);
  if (tasks.items() < p.tokens * p.n2) {
    std::memset(p.attention_out, 0, p.tokens * p.n1 * p.d2 * sizeof(typename E::Storage));
  }
  const int64_t group = p.n1 / p.n2;
  if constexpr (std::is_same<typename Dot::Operand, typename E::Storage>::value) {
    if (group > Dot::Vec::kLanes / 2) return DecodeWith<Dot, E, HeadScores<Dot, E>>(p, tasks);
  }
  if (group == 1) return DecodeWith<Dot, E, DepthScores<Dot, E, 1>>(p, tasks);
  if (group == 2) return DecodeWith<Dot, E, DepthScores<Dot, E, 2>>(p, tasks);
  DecodeWith<Dot, E, DepthScores<Dot, E, 4>>(p, tasks);
}

}  // namespace
}  // namespace ms_nsa
