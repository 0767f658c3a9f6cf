// SPDX-License-Identifier: Apache-2.0
// What the compression of packed sequences reads in GM, but for the weights.
#pragma once

#include "compress_params.h"
#include "kernel_operator.h"

namespace ms_nsa {

constexpr int32_t kBlock = 16;  // elements of 32 bytes

class PackedLengths {
 public:
  __aicore__ inline explicit PackedLengths(GM_ADDR actual_seq_len) {
    lengths_.SetGlobalBuffer(reinterpret_cast<__gm__ int64_t*>(actual_seq_len));
  }
  __aicore__ inline int64_t SeqLen(int64_t sequence) const { return lengths_.GetValue(sequence); }

 private:
  AscendC::GlobalTensor<int64_t> lengths_;
};

// Rows of a part of the heads of a packed tensor [rows, kv_heads, head_dim].
template <class T>
class PackedPart {
 public:
  __aicore__ inline PackedPart(const CompressParams& params, GM_ADDR tensor) : p_(params) {
    tensor_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(tensor));
  }

  template <class Slice>
  __aicore__ inline void Load(const Slice& slice, const AscendC::LocalTensor<T>& to) const {
    Load(slice.part, slice.row, p_.slice_rows, to);
  }

  __aicore__ inline void Load(int32_t part, int64_t row, int32_t rows,
                              const AscendC::LocalTensor<T>& to) const {
    const int64_t at = (row * p_.kv_heads + FirstHead(p_, part)) * p_.head_dim;
    const int32_t elements = p_.part_heads * p_.head_dim;
    if (p_.part_heads == p_.kv_heads) {
      AscendC::DataCopy(to, tensor_[at], rows * elements);
    } else {
      const int32_t gap = (p_.kv_heads - p_.part_heads) * p_.head_dim;
      AscendC::DataCopy(to, tensor_[at],
                        {static_cast<uint16_t>(rows), static_cast<uint16_t>(elements / kBlock),
                         static_cast<uint16_t>(gap / kBlock), 0});
    }
  }

 private:
  const CompressParams& p_;
  AscendC::GlobalTensor<T> tensor_;
};

// Lengths, slots and pages of paged sequences, and rows of a part of the heads of their cache.
template <class T>
class PagedPart {
 public:
  __aicore__ inline PagedPart(const CompressParams& params, GM_ADDR cache, GM_ADDR slot_mapping,
                              GM_ADDR block_table, GM_ADDR actual_seq_len, GM_ADDR actual_seq_qlen)
      : p_(params) {
    cache_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(cache));
    slots_.SetGlobalBuffer(reinterpret_cast<__gm__ int32_t*>(slot_mapping));
    pages_.SetGlobalBuffer(reinterpret_cast<__gm__ int32_t*>(block_table));
    lens_.SetGlobalBuffer(reinterpret_cast<__gm__ int64_t*>(actual_seq_len));
    q_lens_.SetGlobalBuffer(reinterpret_cast<__gm__ int64_t*>(actual_seq_qlen));
  }

  __aicore__ inline int64_t SeqLen(int64_t sequence) const { return lens_.GetValue(sequence); }
  __aicore__ inline int64_t QLen(int64_t sequence) const { return q_lens_.GetValue(sequence); }
  __aicore__ inline int32_t Slot(int64_t entry) const { return slots_.GetValue(entry); }
  __aicore__ inline int64_t Page(int64_t sequence, int64_t number) const {
    return pages_.GetValue(sequence * p_.max_blocks + number);
  }

  // No page ends inside a slice.
  template <class Slice>
  __aicore__ inline void Load(const Slice& slice, const AscendC::LocalTensor<T>& to) const {
    const int64_t page = Page(slice.sequence, slice.row / p_.page_block_size);
    const int64_t row = slice.row % p_.page_block_size, first = FirstHead(p_, slice.part);
    const int64_t head = p_.heads_first ? p_.page_block_size * p_.head_dim : p_.head_dim;
    const int64_t next_row = p_.heads_first ? p_.head_dim : int64_t{p_.kv_heads} * p_.head_dim;
    const int64_t page_size = int64_t{p_.page_block_size} * p_.kv_heads * p_.head_dim;
    const int64_t at = page * page_size + first * head + row * next_row;
    if (!p_.heads_first) {
      Copy(to, at, p_.part_heads * p_.head_dim, next_row, 0);
      return;
    }
    for (int32_t h = 0; h < p_.part_heads; ++h)
      Copy(to[h * p_.head_dim], at + h * head, p_.head_dim, next_row, (p_.part_heads - 1) * p_.head_dim);
  }

 private:
  // A slice's rows of `elements`, `gap` elements apart in UB.
  __aicore__ inline void Copy(const AscendC::LocalTensor<T>& to, int64_t at, int32_t elements,
                              int64_t next_row, int32_t gap) const {
    AscendC::DataCopy(
        to, cache_[at],
        {static_cast<uint16_t>(p_.slice_rows), static_cast<uint16_t>(elements / kBlock),
         static_cast<uint16_t>((next_row - elements) / kBlock), static_cast<uint16_t>(gap / kBlock)});
  }

  const CompressParams& p_;
  AscendC::GlobalTensor<T> cache_;
  AscendC::GlobalTensor<int32_t> slots_, pages_;
  AscendC::GlobalTensor<int64_t> lens_, q_lens_;
};

}  // namespace ms_nsa
