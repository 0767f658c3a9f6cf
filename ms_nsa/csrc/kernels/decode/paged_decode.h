// SPDX-License-Identifier: Apache-2.0
// Decode over a paged cache. Each task processes its visible rows in tiles, with an online softmax. During
// one tile the rows of the next tile are prefetched, even if it belongs to another task.
#pragma once

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

  void Store(const DecodeTask& item, const HeadResults& results, int64_t width) const {
    const int64_t first = TokenRow(p_, item) * p_.n1 + item.head * group_;
    S* out = static_cast<S*>(p_.attention_out) + first * p_.d2;
    for (int64_t h = 0; h < group_; ++h, out += p_.d2) {
      const float max = results.max[h], sum = results.sum[h];
      const bool finite = StoreRow<V, E>(out, results.out + h * width, p_.d2, sum == 0.0f ? 1.0f : sum);
      if (!finite && MayHaveOverflowed(max, sum)) StoreScaled(item, first + h, out);
      if (p_.softmax_max == nullptr) continue;
      StoreStatistics(p_.softmax_max, p_.softmax_sum, first + h, sum == 0.0f ? kNegativeInfinity : max, sum);
    }
  }

 private:
  void StoreScaled(const DecodeTask& item, int64_t row, S* out) const {
    Arena arena(reinterpret_cast<char*>(blocks_));
    PagedRows<S> rows(arena, p_);
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

// Heads is the algorithm for a tile, FewHeads or ManyHeads. Tasks that are parts write their results to
// records, for MergeItem.
template <class Dot, class E, class Heads>
class DecodeWorker {
 public:
  using V = typename Dot::Vec;
  using S = typename E::Storage;

  // In a call with a choice, all items' scores are written to `saved` if tasks are parts.
  DecodeWorker(Arena& arena, const PagedAttentionParams& p, const DecodeTasks& tasks,
               const ResultRecords* records, const SavedScores* saved, int64_t windows)
      : p_(p),
        tasks_(tasks),
        records_(records),
        results_(arena, p),
        group_(p.n1 / p.n2),
        rows_(arena, p),
        heads_(arena, p),
        width_(heads_.state().width()),
        merged_(
            ResultRecords(arena.Take<float>(ResultRecords::Size(1, group_, width_)), group_, width_).At(0)),
        choice_(arena, p, p.choice == nullptr ? 0 : windows, Heads::State::PaddedHeads(group_)),
        saved_(SavedInArena(arena, saved, windows)) {}

  // Takes tasks from next_task, which all threads share, until there are none.
  void Run(int64_t* next_task) {
    choice_.Start();
    for (RowTile<S>& tile : tile_) NextTile(next_task, tile);
    for (int i = 0; !tile_[i].empty; i = (i + 1) % kTiles) {
      RowTile<S>& tile = tile_[i];
      if (tile.first) Start(tile.task);
      if (tile.count > 0) heads_.Add(tile, tile_[(i + 1) % kTiles], tile_[(i + 2) % kTiles]);
      if (p_.choice != nullptr)
        SaveScores(heads_.state(), heads_.scores(), tile.count,
                   saved_.At(SavedItem(tile.task), tile.first_row));
      if (tile.last) Finish(tile);
      NextTile(next_task, tile);
    }
  }

 private:
  // An item's own, where all parts of it are this worker's.
  SavedScores SavedInArena(Arena& arena, const SavedScores* saved, int64_t windows) const {
    if (p_.choice == nullptr) return {};
    if (saved != nullptr) return *saved;
    return SavedScores::Take<V>(arena, 1, windows, Heads::State::PaddedHeads(group_));
  }
  int64_t SavedItem(const DecodeTask& task) const { return records_ == nullptr ? 0 : task.item; }

  void NextTile(int64_t* next_task, RowTile<S>& tile) {
    tile.count = 0;
    tile.first = rows_done_;
    if (rows_done_ && !NextPart(next_task)) {
      tile.empty = true;
      return;
    }
    tile.empty = false;
    tile.task = task_;
    rows_.Fill(tile, heads_.tile_rows());
    tile.last = rows_done_ = rows_.done();
    tile.ends_task = tile.last && (records_ != nullptr || task_.part + 1 >= rows_.parts());
  }

  // The next part of the item that the task is, or the next task.
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

  void Start(const DecodeTask& task) {
    heads_.state().Reset();
    if (task.part > 0 && records_ == nullptr) return;  // the query is there
    const int64_t row = TokenRow(p_, task) * p_.n1 + task.head * group_;
    heads_.Start(static_cast<const S*>(p_.query) + row * p_.d1);
  }

  void Finish(const RowTile<S>& tile) {
    const auto& state = heads_.state();
    const HeadResults to =
        records_ == nullptr ? merged_ : records_->At(tile.task.item * tasks_.max_parts() + tile.task.part);
    if (records_ != nullptr || tile.task.part == 0) Clear(to, group_);
    for (int64_t h = 0; h < group_; ++h) {
      MergeHead<V, Dot::kPreciseExp>(to, h, width_, state.out(h), state.Max(h), state.Sum(h));
    }
    if (records_ != nullptr || !tile.ends_task) return;
    results_.Store(tile.task, merged_, width_);
    if (p_.choice != nullptr) choice_.Choose(tile.task, saved_.At(0, 0), merged_);
  }

  const PagedAttentionParams& p_;
  const DecodeTasks& tasks_;
  const ResultRecords* const records_;  // nullptr: tasks are whole items
  const DecodeResults<V, E> results_;
  const int64_t group_;
  PagedRows<S> rows_;
  Heads heads_;
  const int64_t width_;
  const HeadResults merged_;
  DecodeChoice<V> choice_;
  const SavedScores saved_;
  DecodeTask task_{};
  bool rows_done_ = true;
  static constexpr int kTiles = 3;  // the one that is worked on and the next two
  RowTile<S> tile_[kTiles];
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
  results.Store(tasks.At(first), merged, width);
  return merged;
}

template <class Dot, class E, class Heads>
void DecodeWith(const PagedAttentionParams& p, DecodeTasks& tasks) {
  using Worker = DecodeWorker<Dot, E, Heads>;
  using V = typename Dot::Vec;
  const bool small = tasks.CacheBytes(sizeof(typename E::Storage)) < kOneThreadBytes;
  tasks.ShareOut(small ? 1 : Team(tasks.items() * kMaxParts, p.max_threads).members());
  const bool split = tasks.max_parts() > 1;
  const int64_t group = p.n1 / p.n2, width = RowStride<Dot>(p.d2);
  const Buffer<float> record_memory(split ? ResultRecords::Size(tasks.size(), group, width) : 0);
  const ResultRecords records(record_memory.get(), group, width);
  const int64_t windows = p.choice == nullptr ? 0 : MostWindows(p), heads = Heads::State::PaddedHeads(group);
  const int64_t saved_size =
      split && p.choice != nullptr ? SavedScores::Size(tasks.items(), windows, heads) : 0;
  const Buffer<float> saved_memory(saved_size + V::kLanes);
  const SavedScores saved{saved_memory.get(), windows, heads};
  const Team team(small ? 1 : tasks.size(), p.max_threads);
  Arena sizing;
  Worker(sizing, p, tasks, nullptr, split ? &saved : nullptr, windows);
  const int64_t size = sizing.used();
  const Buffer<char> memory(team.members() * size);
  int64_t next_task = 0;
  team.Run([&](int member) {
    const typename Dot::Registers registers;
    Arena arena(memory.get() + member * size);
    Worker(arena, p, tasks, split ? &records : nullptr, split ? &saved : nullptr, windows).Run(&next_task);
  });
  if (!split) return;
  int64_t next_item = 0;
  team.Run([&](int member) {
    Arena arena(memory.get() + member * size);
    const DecodeResults<V, E> results(arena, p);
    DecodeChoice<V> choice(arena, p, windows, heads);
    choice.Start();
    for (int64_t i; (i = TakeTask(&next_item)) < tasks.items();) {
      const HeadResults merged = MergeItem<Dot, E>(p, tasks, records, results, i);
      if (p.choice != nullptr) choice.Choose(tasks.At(i * tasks.max_parts()), saved.At(i, 0), merged);
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
