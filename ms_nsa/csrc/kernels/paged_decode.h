// Decode over a paged cache. Each task streams its visible rows through in tiles, with an online softmax;
// while one tile is worked on the rows of the next, be it another task's, are fetched.
#pragma once

#include "decode_merge.h"
#include "element.h"
#include "few_heads.h"
#include "many_heads.h"
#include "paged_rows.h"
#include "threads.h"

namespace ms_nsa {
namespace {

// Heads is the way to work on a tile: FewHeads or ManyHeads.
template <class Dot, class E, class Heads>
class DecodeWorker {
 public:
  using V = typename Dot::Vec;
  using S = typename E::Storage;

  DecodeWorker(Arena& arena, const PagedAttentionParams& p, const DecodeTasks& tasks,
               const PartialResults& partial)
      : p_(p),
        tasks_(tasks),
        partial_(partial),
        group_(p.n1 / p.n2),
        split_(tasks.parts() > 1),
        rows_(arena, p),
        heads_(arena, p) {}

  // Takes tasks from next_task, which all threads share, until there are none.
  void Run(int64_t* next_task) {
    for (RowTile<S>& tile : tile_) NextTile(next_task, tile);
    for (int i = 0; !tile_[i].empty; i = (i + 1) % kTiles) {
      RowTile<S>& tile = tile_[i];
      if (tile.first) heads_.Start(static_cast<const S*>(p_.query) + FirstRow(tile.task) * p_.d1);
      if (tile.count > 0) heads_.Add(tile, tile_[(i + 1) % kTiles], tile_[(i + 2) % kTiles]);
      if (tile.last) Finish(tile.task);
      NextTile(next_task, tile);
    }
  }

 private:
  void NextTile(int64_t* next_task, RowTile<S>& tile) {
    tile.count = 0;
    tile.first = rows_done_;
    if (rows_done_) {
      const int64_t i = TakeTask(next_task);
      tile.empty = i >= tasks_.size();
      if (tile.empty) return;
      task_ = tasks_.At(i);
      rows_.Start(task_, tasks_.parts());
    }
    tile.empty = false;
    tile.task = task_;
    rows_.Fill(tile, heads_.tile_rows());
    tile.last = rows_done_ = rows_.done();
  }

  // Of the task's first query head in query and attention_out.
  int64_t FirstRow(const DecodeTask& task) const { return TokenRow(p_, task) * p_.n1 + task.head * group_; }

  void Finish(const DecodeTask& task) {
    const auto& state = heads_.state();
    const HeadResults part = partial_.At(task.index);
    S* out = static_cast<S*>(p_.attention_out) + FirstRow(task) * p_.d2;
    for (int64_t h = 0; h < group_; ++h, out += p_.d2) {
      const float sum = state.Sum(h);
      if (split_) {
        std::memcpy(part.out + h * state.width(), state.out(h), state.width() * sizeof(float));
        part.max[h] = state.Max(h);
        part.sum[h] = sum;
      } else {
        StoreRow<V, E>(out, state.out(h), p_.d2, sum == 0.0f ? 1.0f : sum);
      }
    }
  }

  const PagedAttentionParams& p_;
  const DecodeTasks& tasks_;
  const PartialResults& partial_;
  const int64_t group_;
  const bool split_;
  PagedRows<S> rows_;
  Heads heads_;
  DecodeTask task_{};
  bool rows_done_ = true;
  static constexpr int kTiles = 3;  // the one that is worked on and the next two
  RowTile<S> tile_[kTiles];
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

template <class Dot, class E, class Heads>
void DecodeWith(const PagedAttentionParams& p, const DecodeTasks& tasks) {
  using Worker = DecodeWorker<Dot, E, Heads>;
  const int64_t value_width = RowStride<Dot>(p.d2);
  const PartialResults partial(tasks, p.n1 / p.n2, value_width);
  Arena sizing;
  Worker(sizing, p, tasks, partial);
  const int64_t size = sizing.used();
  const bool small = tasks.CacheBytes(sizeof(typename E::Storage)) < kOneThreadBytes;
  const Team team(small ? 1 : tasks.size(), p.max_threads);
  const Buffer<char> memory(team.members() * size);
  int64_t next_task = 0;
  team.Run([&](int member) {
    Arena arena(memory.get() + member * size);
    Worker(arena, p, tasks, partial).Run(&next_task);
  });
  if (tasks.parts() == 1) return;
  int64_t next_item = 0;
  team.Run([&](int) {
    for (int64_t i; (i = TakeTask(&next_item)) < tasks.items();) {
      MergeItem<typename Dot::Vec, E>(p, tasks, partial, i, value_width);
    }
  });
}

template <class Dot, class E>
void PagedAttention(const PagedAttentionParams& p) {
  const DecodeTasks tasks(p);
  if (tasks.items() < p.tokens * p.n2) {
    std::memset(p.attention_out, 0, p.tokens * p.n1 * p.d2 * sizeof(typename E::Storage));
  }
  const int64_t group = p.n1 / p.n2;
  if (group > Dot::Vec::kLanes / 2) return DecodeWith<Dot, E, ManyHeads<Dot, E>>(p, tasks);
  if (group == 1) return DecodeWith<Dot, E, FewHeads<Dot, E, 1>>(p, tasks);
  if (group == 2) return DecodeWith<Dot, E, FewHeads<Dot, E, 2>>(p, tasks);
  DecodeWith<Dot, E, FewHeads<Dot, E, 4>>(p, tasks);
}

}  // namespace
}  // namespace ms_nsa
