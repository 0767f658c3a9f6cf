// Decode over a paged cache. Each task streams its visible rows through in tiles, with an online softmax;
// while one tile is worked on the rows of the next, be it another task's, are fetched.
#pragma once

#include "decode_merge.h"
#include "decode_scores.h"
#include "decode_softmax.h"
#include "decode_values.h"
#include "element.h"
#include "paged_rows.h"
#include "threads.h"

namespace ms_nsa {
namespace {

template <class Dot, class E, class Scores, class Values>
class DecodeWorker {
 public:
  using V = typename Dot::Vec;
  using Reg = typename Dot::Reg;
  using Operand = typename Dot::Operand;
  using S = typename E::Storage;
  static constexpr int kHeads = Scores::kHeads;
  using Layout = ScoreLayout<Dot, kHeads>;

  DecodeWorker(Arena& arena, const PagedAttentionParams& p, const DecodeTasks& tasks,
               const PartialResults& partial)
      : p_(p),
        tasks_(tasks),
        partial_(partial),
        group_(p.n1 / p.n2),
        head_groups_(CeilDiv(group_, kHeads)),
        value_width_(RowStride<Dot>(p.d2)),
        tile_rows_(RoundUp(DecodeRows(group_), Scores::kTileStep)),
        split_(tasks.parts() > 1),
        rows_(arena, p),
        scores_(arena, p.d1),
        values_(arena, p.d2),
        query_(arena.Take<Operand>(head_groups_ * scores_.query_size())),
        out_(arena.Take<float>(group_ * value_width_)),
        score_(arena.Take<float>(head_groups_ * kDecodeRows * kHeads)),
        probability_(arena.Take<Operand>(head_groups_ * kDecodeRows * kHeads)),
        factor_(arena.Take<float>(head_groups_ * kHeads + V::kLanes)),
        statistics_(arena.Take<HeadStatistics<Dot>>(head_groups_)),
        probability_row_(arena.Take<const Operand*>(group_)),
        out_row_(arena.Take<float*>(group_)) {}

  // Takes tasks from next_task, which all threads share, until there are none.
  void Run(int64_t* next_task) {
    for (int64_t h = 0; h < group_; ++h) {
      probability_row_[h] = probability_ + h / kHeads * kDecodeRows * kHeads + h % kHeads * Dot::kPair;
      out_row_[h] = out_ + h * value_width_;
    }
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
      scores_.PackQuery(query + i * kHeads * p_.d1, Min(kHeads, group_ - i * kHeads),
                        query_ + i * scores_.query_size());
      statistics_[i] = {V::Set1(kNegativeInfinity), V::Zero()};
    }
    std::memset(out_, 0, group_ * value_width_ * sizeof(float));
  }

  // While the tile's keys are scored its values are fetched; while those are added the next tile's keys are.
  void RunTile(RowTile<S>& tile, const RowTile<S>& next) {
    const int64_t keys = RoundUp(tile.count, Scores::kTileStep);
    const RowList<S> values{tile.value, tile.count, p_.d2};
    const RowList<S> next_keys{next.key, next.count, p_.d1}, next_values{next.value, next.count, p_.d2};
    scores_.Score(tile.key, tile.count, keys, query_, head_groups_, score_,
                  ScatteredPrefetch<S>(values, next_keys, scores_.portions(keys, head_groups_)));
    for (int64_t i = 0; i < head_groups_; ++i) {
      const int64_t at = i * kDecodeRows * kHeads;
      DecodeSoftmax<Dot, kHeads>(score_ + at, keys / Layout::kVectorKeys, tile.count, p_.scale_value,
                                 statistics_[i], probability_ + at, factor_ + i * kHeads);
    }
    values_.Add(tile.value, tile.count, {group_, probability_row_, kHeads * Dot::kPair, out_row_, factor_},
                ScatteredPrefetch<S>(next_keys, next_values, values_.portions(group_)));
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
  const int64_t group_, head_groups_, value_width_, tile_rows_;
  const bool split_;
  PagedRows<S> rows_;
  Scores scores_;
  Values values_;
  DecodeTask task_{};
  bool rows_done_ = true;
  static constexpr int kTiles = 2;  // the one that is worked on and the next
  RowTile<S> tile_[kTiles];
  Operand* query_;  // packed, for each head group
  float* out_;      // [head][value_width_], not yet divided by the sum
  float* score_;
  Operand* probability_;
  float* factor_;
  HeadStatistics<Dot>* statistics_;
  const Operand** probability_row_;  // of each head
  float** out_row_;
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

template <class Dot, class E, class Scores, class Values>
void DecodeWith(const PagedAttentionParams& p, const DecodeTasks& tasks) {
  using Worker = DecodeWorker<Dot, E, Scores, Values>;
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
  using InPlace = InPlaceValues<Dot, E>;
  if (group > Dot::Vec::kLanes / 2)
    return DecodeWith<Dot, E, HeadScores<Dot, E>, PackedValues<Dot, E>>(p, tasks);
  if (group == 1) return DecodeWith<Dot, E, DepthScores<Dot, E, 1>, InPlace>(p, tasks);
  if (group == 2) return DecodeWith<Dot, E, DepthScores<Dot, E, 2>, InPlace>(p, tasks);
  DecodeWith<Dot, E, DepthScores<Dot, E, 4>, InPlace>(p, tasks);
}

}  // namespace
}  // namespace ms_nsa
