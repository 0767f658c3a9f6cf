// SPDX-License-Identifier: Apache-2.0
// Rows into pages: where the new tokens of a call go, and the writer itself. All is checked before the first
// row is written, so that a refused call changes nothing.
#include <cstring>
#include <vector>

#include "check_values.h"
#include "decode_lengths.h"
#include "errors.h"
#include "op_info.h"
#include "windows.h"

namespace ms_nsa {
namespace {

struct Span {  // of rows of one sequence
  int64_t sequence, first, end;
};

struct Table {
  const char* name;
  const int32_t* page;
  int64_t max_blocks, num_pages, page_rows;

  int32_t Slot(int64_t sequence, int64_t row) const {
    return static_cast<int32_t>(page[sequence * max_blocks + row / page_rows] * page_rows + row % page_rows);
  }
};

void CheckTable(const char* op, const Table& table, const Span& rows) {
  if (rows.end > table.max_blocks * table.page_rows)
    Fail(op, table.name, Join("have pages for ", rows.end, " rows at sequence ", rows.sequence),
         Join(table.max_blocks, " pages of ", table.page_rows, " rows"));
  for (int64_t at = rows.first / table.page_rows; at < CeilDiv(rows.end, table.page_rows); ++at) {
    const int32_t page = table.page[rows.sequence * table.max_blocks + at];
    if (page >= 0 && page < table.num_pages) continue;
    Fail(op, table.name, Join("hold page ids from 0 to ", table.num_pages - 1, " where rows are written"),
         Join(page, " at sequence ", rows.sequence, ", slot ", at));
  }
}

struct Plan {
  const NsaPageSlots& op;
  Table raw, compressed;
  const int64_t *q_len, *kv_len;

  explicit Plan(const NsaPageSlots& given)
      : op(given),
        raw{"block_table", op.block_table.as<int32_t>(), op.max_blocks, op.num_pages, op.page_block_size},
        compressed{"compressed_block_table", op.compressed_block_table.as<int32_t>(),
                   op.max_compressed_blocks, op.num_compressed_pages, op.page_block_size},
        q_len(op.actual_seq_qlen.as<int64_t>()),
        kv_len(op.actual_seq_kvlen.as<int64_t>()) {}

  Span NewRows(int64_t b) const { return {b, kv_len[b] - q_len[b], kv_len[b]}; }
  Span NewWindows(int64_t b) const {
    const auto count = [&](int64_t rows) {
      return WindowCount(rows, op.compress_block_size, op.compress_stride);
    };
    return {b, count(kv_len[b] - q_len[b]), count(kv_len[b])};
  }

  void Check() const {
    CheckLengths(op.kName, "actual_seq_kvlen", kv_len, op.B, "2^31 - 1", INT32_MAX);
    CheckQueryLengths(op, std::vector<int64_t>(q_len, q_len + op.B));
    for (int64_t b = 0; b < op.B; ++b) {
      if (q_len[b] > kv_len[b])
        Fail(op.kName, "actual_seq_kvlen",
             Join("be at least actual_seq_qlen = ", q_len[b], " at sequence ", b), Join(kv_len[b]));
      CheckTable(op.kName, raw, NewRows(b));
      CheckTable(op.kName, compressed, NewWindows(b));
    }
  }

  void Tokens(int64_t b, int64_t start) const {
    auto* positions = static_cast<int32_t*>(op.positions);
    auto* slots = static_cast<int32_t*>(op.slots);
    const Span rows = NewRows(b);
    for (int64_t row = rows.first; row < rows.end; ++row) {
      positions[start + row - rows.first] = static_cast<int32_t>(row);
      slots[start + row - rows.first] = raw.Slot(b, row);
    }
  }

  void Windows(int64_t b) const {
    auto* positions = static_cast<int32_t*>(op.compressed_positions) + b * op.K;
    auto* slots = static_cast<int32_t*>(op.compressed_slots) + b * op.K;
    const Span windows = NewWindows(b);
    for (int64_t i = 0; i < op.K; ++i) {
      const int64_t window = windows.first + i;
      positions[i] = window < windows.end ? static_cast<int32_t>(window * op.compress_stride) : 0;
      slots[i] = window < windows.end ? compressed.Slot(b, window) : -1;
    }
  }
};

void Write(void* pages, const void* rows, bool heads_first, const NsaWritePages& op, int64_t d) {
  const int64_t bytes = d * (op.dtype() == DType::kFloat32 ? 4 : 2);
  const int32_t* slots = op.slots.as<int32_t>();
  for (int64_t r = 0; r < op.R; ++r) {
    if (slots[r] < 0) continue;
    const int64_t page = slots[r] / op.P, row = slots[r] % op.P;
    for (int64_t h = 0; h < op.N2; ++h) {
      const int64_t at = heads_first ? (page * op.N2 + h) * op.P + row : (page * op.P + row) * op.N2 + h;
      std::memcpy(static_cast<char*>(pages) + at * bytes,
                  static_cast<const char*>(rows) + (r * op.N2 + h) * bytes, bytes);
    }
  }
}

}  // namespace

void Run(NsaPageSlots& op) {
  const Plan plan(op);
  plan.Check();
  const std::vector<int64_t> start = QueryStarts(op, {plan.q_len, plan.q_len + op.B});
  std::memset(op.positions, 0, op.T * sizeof(int32_t));
  std::memset(op.slots, 0xff, op.T * sizeof(int32_t));  // -1: padded tokens
  for (int64_t b = 0; b < op.B; ++b) {
    plan.Tokens(b, start[b]);
    plan.Windows(b);
  }
}

void Run(NsaWritePages& op) {
  const int32_t* slots = op.slots.as<int32_t>();
  for (int64_t r = 0; r < op.R; ++r) {
    if (slots[r] >= op.num_blocks * op.P)
      Fail(op.kName, "slots", Join("be below num_blocks * page_block_size = ", op.num_blocks * op.P),
           Join(slots[r], " at row ", r));
  }
  // The pages are Parameters and MindSpore knows nothing of the write. Who reads them takes its lengths from
  // here, so that it runs later.
  const bool heads_first = op.cache_layout == "BNSD";
  Write(const_cast<void*>(op.key_pages.data), op.key_rows.data, heads_first, op, op.D1);
  Write(const_cast<void*>(op.value_pages.data), op.value_rows.data, heads_first, op, op.D2);
  std::memcpy(op.written, op.lengths.data, op.B * sizeof(int64_t));
}

}  // namespace ms_nsa
