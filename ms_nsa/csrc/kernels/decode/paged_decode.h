// SPDX-License-Identifier: Apache-2.0
// Decode over a paged cache. Each task processes its visible rows in tiles, with an online softmax. During
// one tile the rows of the next tile are prefetched, even if it belongs to another task.
#pragma once

#include <new>
#include <type_traits>

#include "../../simd/float_dot.h"
#include "../row_result.h"
#include "../threads.h"
#include "decode_choice.h"
#include "decode_merge.h"
#include "few_heads.h"
#include "many_heads.h"
#include "paged_rows.h"
#include "tiled_heads.h"

namespace ms_nsa {
namespace {

// Writes the merged results of an item's parts.
template <class V, class E>
class DecodeResults {
 public:
  using S = typename E::Storage;

  DecodeResults(Arena& arena, const PagedAttentionParams& p)
      : p_(p),
        group_(p.n1 / p.n2),
        blocks_(arena.Take<int32_t>(p.select_block_count)),
        sums_(arena.Take<float>(RoundUp(p.d2, V::kLanes))) {}

  void Store(const DecodeTask& item, int64_t head, const HeadResults& results, int64_t width) const {
    const int64_t first = TokenRow(p_, item) * p_.n1 + head * group_;
    S* out = static_cast<S*>(p_.attention_out) + first * p_.d2;
    for (int64_t h = 0; h < group_; ++h, out += p_.d2) {
      const float max = results.max[h], sum = results.sum[h];
      const bool finite = StoreRow<V, E>(out, results.out + h * width, p_.d2, sum == 0.0f ? 1.0f : sum);
      if (!finite && MayHaveOverflowed(max, sum)) StoreScaled(item, head, first + h, out);
      if (p_.softmax_max == nullptr) continue;
      StoreStatistics(p_.softmax_max, p_.softmax_sum, first + h, sum == 0.0f ? kNegativeInfinity : max, sum);
    }
  }

 private:
  void StoreScaled(DecodeTask item, int64_t head, int64_t row, S* out) const {
    Arena arena(reinterpret_cast<char*>(blocks_));
    PagedRows<S> rows(arena, p_);
    item.head = head;
    rows.Start(item);
    const auto for_each_row = [&](const auto& f) {
      RowTile<S> tile;
      for (rows.Select(0, rows.parts()); !rows.done();) {
        tile.count = 0;
        rows.Fill(tile, kDecodeRows);
        for (int64_t i = 0; i < tile.count; ++i) f(tile.key[i], tile.value[i]);
      }
    };
    const S* query = static_cast<const S*>(p_.query) + row * p_.d1;
    AttendScaled<V, E>(query, p_.d1, p_.d2, p_.scale_value, for_each_row, sums_, out);
  }

  const PagedAttentionParams& p_;
  const int64_t group_;
  int32_t* blocks_;  // for the rare row that is computed again
  float* sums_;
};

// Heads is the algorithm for a tile, FewHeads, ManyHeads or TiledHeads. Tasks that are parts write their
// results to records, for MergeItem.
template <class Dot, class E, class Heads>
class DecodeWorker {
 public:
  using V = typename Dot::Vec;
  using S = typename E::Storage;

  // In a call with a choice, all items' scores are written to `saved` if tasks are parts.
  DecodeWorker(Arena& arena, const PagedAttentionParams& p, const DecodeTasks& tasks,
               const ResultRecords* records, const SavedScores& saved, int64_t windows)
      : p_(p),
        tasks_(tasks),
        records_(records),
        results_(arena, p),
        group_(p.n1 / p.n2),
        width_(RowStride<Dot>(p.d2)),
        rows_(arena, p),
        heads_(MakeHeads(arena, p, tasks.most_heads())),
        merged_(arena.Take<float>(ResultRecords::Size(tasks.most_heads(), group_, width_)), group_, width_),
        choice_(arena, p, windows),
        saved_(windows == 0 || saved.memory != nullptr ? saved : SavedInArena(arena, saved.stride)) {}

  // Takes tasks from next_task, which all threads share, until there are none.
  void Run(int64_t* next_task) {
    choice_.Start();
    for (RowTile<S>& tile : tile_) NextTile(next_task, tile);
    for (int i = 0; !tile_[i].empty; i = (i + 1) % kTiles) {
      for (int64_t h = 0; h < tile_[i].task.heads; ++h) AddHead(i, h);
      NextTile(next_task, tile_[i]);
    }
  }

 private:
  // One for each kv head of a task.
  static Heads* MakeHeads(Arena& arena, const PagedAttentionParams& p, int64_t count) {
    static_assert(std::is_trivially_destructible<Heads>::value, "nothing in an arena is destroyed");
    Heads* heads = arena.Take<Heads>(count);
    for (int64_t h = 0; h < count; ++h) {
      const Heads made(arena, p);
      if (heads != nullptr) new (heads + h) Heads(made);
    }
    return heads;
  }

  // A task's own, where all parts of its items are this worker's.
  SavedScores SavedInArena(Arena& arena, int64_t stride) const {
    return {arena.Take<float>(tasks_.most_heads() * group_ * stride), stride};
  }

  // The scores and results of a task's h-th kv head.
  SavedScores SavedOf(const DecodeTask& task, int64_t h) const {
    return saved_.OfHead((records_ == nullptr ? h : task.item) * group_);
  }
  HeadResults ResultsOf(const DecodeTask& task, int64_t h) const {
    return records_ == nullptr ? merged_.At(h) : records_->At(task.item * tasks_.max_parts() + task.part);
  }

  void NextTile(int64_t* next_task, RowTile<S>& tile) {
    tile.count = 0;
    tile.first = rows_done_;
    if (rows_done_ && !NextPart(next_task)) {
      tile.empty = true;
      return;
    }
    tile.empty = false;
    tile.task = task_;
    rows_.Fill(tile, Heads::TileRows(group_));
    tile.last = rows_done_ = rows_.done();
    tile.ends_task = tile.last && (records_ != nullptr || task_.part + 1 >= rows_.parts());
  }

  // The next part of the items that the task is, or the next task.
  bool NextPart(int64_t* next_task) {
    if (records_ == nullptr && task_.part + 1 < rows_.parts()) {
      ++task_.part;
    } else {
      const int64_t i = TakeTask(next_task);
      if (i >= tasks_.size()) return false;
      task_ = tasks_.At(i);
      rows_.Start(task_);
    }
    rows_.Select(task_.part, 1);
    return true;
  }

  // The i-th tile of a task's h-th kv head.
  void AddHead(int i, int64_t h) {
    RowTile<S>&tile = tile_[i], &next = tile_[(i + 1) % kTiles], &after_next = tile_[(i + 2) % kTiles];
    Heads& heads = heads_[h];
    if (tile.first) Start(heads, tile.task, h);
    if (h == 0) {
      TouchPages(after_next.key, after_next.count);
      TouchPages(after_next.value, after_next.count);
    }
    if (tile.count > 0) {
      FindAhead(next, h, tile.task.heads);
      heads.Add(tile.task.heads == 1 ? tile : ViewOf(tile, h), ahead_);
    }
    if (p_.choice != nullptr)
      SaveScores(heads.state(), heads.scores(), tile.count, tile.first_row, SavedOf(tile.task, h));
    if (tile.last) Finish(heads, tile, h);
  }

  RowTile<S>& ViewOf(const RowTile<S>& tile, int64_t h) {
    view_.count = tile.count;
    for (int64_t i = 0; i < tile.count; ++i) {
      view_.key[i] = tile.key[i] + h * p_.d1;
      view_.value[i] = tile.value[i] + h * p_.d2;
    }
    return view_;
  }

  // What is fetched while the h-th of n kv heads is worked on: a share of the next tile's rows, in the order
  // in which they lie.
  void FindAhead(const RowTile<S>& next, int64_t h, int64_t n) {
    ahead_.count = 0;
    if (next.count == 0) return;  // then there may be no task either
    const int64_t pieces = next.count * next.task.heads;
    int64_t at = pieces * h / n, row = at / next.task.heads, head = at % next.task.heads;
    ahead_.count = Min(pieces * (h + 1) / n - at, kDecodeRows);
    for (int64_t i = 0; i < ahead_.count; ++i) {
      ahead_.key[i] = next.key[row] + head * p_.d1;
      ahead_.value[i] = next.value[row] + head * p_.d2;
      if (++head == next.task.heads) head = 0, ++row;
    }
  }

  void Start(Heads& heads, const DecodeTask& task, int64_t h) {
    heads.state().Reset();
    if (task.part > 0 && records_ == nullptr) return;  // the query is there
    const int64_t row = TokenRow(p_, task) * p_.n1 + (task.head + h) * group_;
    heads.Start(static_cast<const S*>(p_.query) + row * p_.d1);
  }

  void Finish(const Heads& heads, const RowTile<S>& tile, int64_t h) {
    const auto& state = heads.state();
    const HeadResults to = ResultsOf(tile.task, h);
    if (records_ != nullptr || tile.task.part == 0) Clear(to, group_);
    for (int64_t q = 0; q < group_; ++q)
      MergeHead<V, Dot::kPreciseExp>(to, q, width_, state.out(q), state.Max(q), state.Sum(q));
    if (records_ != nullptr || !tile.ends_task) return;
    results_.Store(tile.task, tile.task.head + h, to, width_);
    if (p_.choice != nullptr) choice_.Choose(tile.task, tile.task.head + h, SavedOf(tile.task, h), to);
  }

  const PagedAttentionParams& p_;
  const DecodeTasks& tasks_;
  const ResultRecords* const records_;  // nullptr: tasks are whole items
  const DecodeResults<V, E> results_;
  const int64_t group_, width_;
  PagedRows<S> rows_;
  Heads* const heads_;
  const ResultRecords merged_;  // of each kv head of a task
  DecodeChoice<V> choice_;
  const SavedScores saved_;
  DecodeTask task_{};
  bool rows_done_ = true;
  static constexpr int kTiles = 3;  // the one that is worked on and the next two
  RowTile<S> tile_[kTiles];
  RowTile<S> view_;  // one kv head's rows of the first
  Ahead<S> ahead_;
};

// Merges the parts' records of an item into the first and writes the result, which it returns.
template <class Dot, class E>
inline HeadResults MergeItem(const PagedAttentionParams& p, const DecodeTasks& tasks,
                             const ResultRecords& records, const DecodeResults<typename Dot::Vec, E>& results,
                             int64_t item) {
  using V = typename Dot::Vec;
  const int64_t first = item * tasks.max_parts(), group = p.n1 / p.n2, width = RowStride<Dot>(p.d2);
  const HeadResults merged = records.At(first);
  for (int64_t part = 1; part < tasks.max_parts(); ++part) {
    const HeadResults next = records.At(first + part);
    for (int64_t h = 0; h < group; ++h) {
      MergeHead<V, Dot::kPreciseExp>(merged, h, width, next.out + h * width, next.max[h], next.sum[h]);
    }
  }
  results.Store(tasks.At(first), tasks.At(first).head, merged, width);
  return merged;
}

template <class Dot, class E, class Heads>
void DecodeWith(const PagedAttentionParams& p, DecodeTasks& tasks) {
  using Worker = DecodeWorker<Dot, E, Heads>;
  using V = typename Dot::Vec;
  const bool small = tasks.CacheBytes(sizeof(typename E::Storage)) < kOneThreadBytes;
  const int64_t group = p.n1 / p.n2, width = RowStride<Dot>(p.d2);
  tasks.ShareOut(small ? 1 : Team(tasks.items() * kMaxParts, p.max_threads).members(),
                 Heads::TileRows(group) * (p.d1 + p.d2) * sizeof(typename E::Storage));
  const bool split = tasks.max_parts() > 1;
  const Buffer<float> record_memory(split ? ResultRecords::Size(tasks.size(), group, width) : 0);
  const ResultRecords records(record_memory.get(), group, width);
  const int64_t windows = p.choice == nullptr ? 0 : MostWindows(p), stride = SavedScores::Stride(windows);
  const Buffer<float> saved_memory(split ? tasks.items() * group * stride : 0);
  const SavedScores saved{split ? saved_memory.get() : nullptr, stride};
  const Team team(small ? 1 : tasks.size(), p.max_threads);
  Arena sizing;
  Worker(sizing, p, tasks, nullptr, saved, windows);
  const int64_t size = sizing.used();
  const Buffer<char> memory(team.members() * size);
  int64_t next_task = 0;
  team.Run([&](int member) {
    const typename Dot::Registers registers;
    Arena arena(memory.get() + member * size);
    Worker(arena, p, tasks, split ? &records : nullptr, saved, windows).Run(&next_task);
  });
  if (!split) return;
  int64_t next_item = 0;
  team.Run([&](int member) {
    Arena arena(memory.get() + member * size);
    const DecodeResults<V, E> results(arena, p);
    DecodeChoice<V> choice(arena, p, windows);
    choice.Start();
    for (int64_t i; (i = TakeTask(&next_item)) < tasks.items();) {
      const HeadResults merged = MergeItem<Dot, E>(p, tasks, records, results, i);
      if (p.choice == nullptr) continue;
      const DecodeTask item = tasks.At(i * tasks.max_parts());
      choice.Choose(item, item.head, saved.OfHead(i * group), merged);
    }
  });
}

// For tokens that belong to no sequence.
inline void ClearTokens(const PagedAttentionParams& p, int64_t element_bytes) {
  std::memset(p.attention_out, 0, p.tokens * p.n1 * p.d2 * element_bytes);
  if (p.choice != nullptr) {
    for (int64_t i = 0; i < p.tokens * p.n2 * p.choice->block_count; ++i) p.chosen_indices[i] = -1;
  }
  if (p.softmax_max == nullptr) return;
  for (int64_t row = 0; row < p.tokens * p.n1; ++row)
    StoreStatistics(p.softmax_max, p.softmax_sum, row, kNegativeInfinity, 0.0f);
}

template <class Dot, class E>
void PagedAttention(const PagedAttentionParams& p) {
  using V = typename Dot::Vec;
  const int64_t group = p.n1 / p.n2;
  if constexpr (Dot::kMatrixTiles) {
    // Few heads leave a matrix tile mostly empty: fp32 products of rows in place take 5 % less time at 4
    // heads.
    if (group <= V::kLanes / 2) return PagedAttention<FloatDot<V, false>, E>(p);
  }
  DecodeTasks tasks(p);
  if (tasks.items() < p.tokens * p.n2) ClearTokens(p, sizeof(typename E::Storage));
  if constexpr (Dot::kMatrixTiles) {
    DecodeWith<Dot, E, TiledHeads<Dot, E>>(p, tasks);
  } else if (group > V::kLanes / 2) {
    DecodeWith<Dot, E, ManyHeads<Dot, E>>(p, tasks);
  } else if (group == 1) {
    DecodeWith<Dot, E, FewHeads<Dot, E, 1>>(p, tasks);
  } else if (group == 2) {
    DecodeWith<Dot, E, FewHeads<Dot, E, 2>>(p, tasks);
  } else {
    DecodeWith<Dot, E, FewHeads<Dot, E, 4>>(p, tasks);
  }
}

}  // namespace
}  // namespace ms_nsa
