// SPDX-License-Identifier: Apache-2.0
// The windows that end within the newest rows of paged sequences. An entry is a sequence and one of its
// slots; the cores take entries, of each part of the heads, in turn.
#pragma once

#include "window_walk.h"

namespace ms_nsa {

// The window that an entry of a sequence shall hold; -1: none, it is dropped, or one of its pages is not in
// the cache. Source gives SeqLen(sequence), QLen(sequence), Slot(entry) and Page(sequence, number).
template <class Source>
MS_NSA_FN int64_t WindowOfEntry(const CompressParams& p, const Source& source, int64_t entry) {
  const int64_t sequence = entry / p.slots, rows = source.SeqLen(sequence);
  const int64_t new_rows = p.has_q_lens ? source.QLen(sequence) : 1;
  const int64_t before = WindowCount(rows - new_rows, p.compress_block_size, p.compress_stride);
  const int64_t window = before + entry % p.slots;
  if (window >= WindowCount(rows, p.compress_block_size, p.compress_stride)) return -1;
  if (source.Slot(entry) < 0) return -1;
  const int64_t first = window * p.compress_stride, last = first + p.compress_block_size - 1;
  if (last / p.page_block_size >= p.max_blocks) return -1;
  for (int64_t number = first / p.page_block_size; number <= last / p.page_block_size; ++number) {
    const int64_t page = source.Page(sequence, number);
    if (page < 0 || page >= p.num_blocks) return -1;
  }
  return window;
}

template <class Source>
class PagedWindowWalk {
 public:
  MS_NSA_FN PagedWindowWalk(const CompressParams& params, const Source& source, int64_t core, int64_t cores)
      : p_(params), source_(source), at_(core), cores_(cores) {}

  // The next entry and part of this core, whether they hold a window or not.
  MS_NSA_FN bool NextEntry(int64_t& entry, int32_t& part) {
    if (at_ >= p_.batch * p_.slots * PartsOf(p_)) return false;
    entry = at_ / PartsOf(p_);
    part = at_ % PartsOf(p_);
    at_ += cores_;
    return true;
  }

  MS_NSA_FN bool Next(WindowSlice& slice) {
    if (left_ == 0 && !NextWindow()) return false;
    slice = slice_;
    --left_;
    ++slice_.number;
    slice_.row += p_.slice_rows;
    return true;
  }

 private:
  MS_NSA_FN bool NextWindow() {
    int32_t part = 0;
    for (int64_t entry; NextEntry(entry, part);) {
      const int64_t window = WindowOfEntry(p_, source_, entry);
      if (window < 0) continue;
      slice_ = {part, entry / p_.slots, window * p_.compress_stride, entry, 1, 0};
      left_ = SlicesOfWindow(p_);
      return true;
    }
    return false;
  }

  const CompressParams& p_;
  const Source& source_;
  int64_t at_, cores_;
  WindowSlice slice_{};
  int32_t left_ = 0;
};

}  // namespace ms_nsa
