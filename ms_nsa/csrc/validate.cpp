// SPDX-License-Identifier: Apache-2.0
#include "validate.h"

#include <algorithm>
#include <vector>

#include "arguments.h"
#include "errors.h"
#include "limits.h"

namespace ms_nsa {
namespace {

int64_t CeilDiv(int64_t a, int64_t b) {
  return a / b + (a % b != 0);
}

// Inclusive prefix sums: start >= 0, never falling, ending at the number of rows. Returns the longest
// sequence.
int64_t ValidatePrefixes(const std::string& op, const char* name, const int64_t* prefix, int64_t batch,
                         const char* rows_name, int64_t rows) {
  int64_t last = 0, longest = 0;
  for (int64_t b = 0; b < batch; ++b) {
    if (prefix[b] < last) {
      const char* rule = b == 0 ? "not be negative" : "not decrease";
      Fail(op, name, rule, Join(prefix[b], " at entry ", b, b == 0 ? "" : Join(" after ", last)));
    }
    longest = std::max(longest, prefix[b] - last);
    last = prefix[b];
  }
  if (last != rows) Fail(op, name, Join("end at ", rows_name, " = ", rows), Join(last));
  return longest;
}

void ValidateMask(const std::string& op, int64_t rows, int64_t cols, int64_t max_q, int64_t max_kv) {
  if (rows >= max_q && cols >= max_kv) return;
  Fail(op, "atten_mask", Join("cover [max Sq, max Sk] = [", max_q, ", ", max_kv, "]"),
       Join("[", rows, ", ", cols, "]"));
}

// Of each sequence's new tokens.
void ValidateTokenMask(int64_t rows, int64_t cols, int64_t max_q) {
  if (rows >= max_q && cols >= max_q) return;
  Fail(kInferName, "atten_mask", Join("cover [B, max Sq, max Sq] with max Sq = ", max_q),
       Join("[", rows, ", ", cols, "]"));
}

[[noreturn]] void FailIndex(const std::string& op, int64_t token, int64_t head, int64_t slot, int64_t index,
                            int64_t bound) {
  Fail(op, "topk_indices", Join("be below ceil(Sk / select_block_size) = ", bound),
       Join(index, " at token ", token, ", kv head ", head, ", slot ", slot));
}

bool AnyAtLeast(const int32_t* indices, int64_t count, int64_t bound) {
  int32_t largest = -1;
  for (int64_t i = 0; i < count; ++i) largest = std::max(largest, indices[i]);
  return largest >= bound;
}

// `rows` tokens of one sequence; the fast scan decides, the slow one names the place.
void ValidateIndices(const std::string& op, const int32_t* indices, int64_t first_token, int64_t tokens,
                     int64_t n2, int64_t count, int64_t bound) {
  const int32_t* begin = indices + first_token * n2 * count;
  if (!AnyAtLeast(begin, tokens * n2 * count, bound)) return;
  const int64_t at =
      std::find_if(begin, begin + tokens * n2 * count, [=](int32_t i) { return i >= bound; }) - begin;
  FailIndex(op, first_token + at / (n2 * count), at / count % n2, at % count, begin[at], bound);
}

// Every page that a selected block of this token touches must exist.
void ValidatePages(const PagedAttentionParams& p, int64_t b, int64_t token, int64_t kv_len) {
  const int32_t* table = p.block_table + b * p.max_blocks;
  const int32_t* indices = p.topk_indices + token * p.n2 * p.select_block_count;
  for (int64_t i = 0; i < p.n2 * p.select_block_count; ++i) {
    if (indices[i] < 0) continue;
    const int64_t first = indices[i] * p.select_block_size;
    const int64_t last = std::min(first + p.select_block_size, kv_len) - 1;
    for (int64_t slot = first / p.page_block_size; slot <= last / p.page_block_size; ++slot) {
      if (table[slot] >= 0 && table[slot] < p.num_blocks) continue;
      Fail(kInferName, "block_table",
           Join("hold page ids from 0 to ", p.num_blocks - 1, " where blocks are selected"),
           Join(table[slot], " at sequence ", b, ", slot ", slot));
    }
  }
}

void ValidateInferLengths(const InferCall& call, bool tnd) {
  const PagedAttentionParams& p = call.params;
  int64_t total = 0;
  for (int64_t b = 0; b < p.batch; ++b) {
    const int64_t q = call.q_len[b], kv = p.kv_len[b], capacity = p.max_blocks * p.page_block_size;
    if (q < 0 || q > call.s) {
      Fail(kInferName, "actual_seq_qlen", Join("be from 0 to ", tnd ? "T" : "S", " = ", call.s),
           Join(q, " at sequence ", b));
    }
    if (kv < 0 || kv > capacity) {
      Fail(kInferName, "actual_seq_kvlen", Join("be from 0 to max_blocks * page_block_size = ", capacity),
           Join(kv, " at sequence ", b));
    }
    total += q;
  }
  if (tnd && total != p.tokens)
    Fail(kInferName, "actual_seq_qlen", Join("sum to T = ", p.tokens), Join(total));
}

void CheckLengthLimits(const InferCall& call, const std::string& limits) {
  if (limits.empty()) return;
  const PagedAttentionParams& p = call.params;
  const int64_t max_kv_len = p.batch ? *std::max_element(p.kv_len, p.kv_len + p.batch) : 0;
  CheckLimits(kInferName, limits,
              {{"selected_rows", p.select_block_size * p.select_block_count}, {"max_kv_len", max_kv_len}});
  for (int64_t b = 0; b < p.batch; ++b)
    CheckLimits(kInferName, limits, {{"q_len", call.q_len[b]}, {"kv_len", p.kv_len[b]}});
}

}  // namespace

void ValidateSelect(const std::string& op, const SelectAttentionInputs& in, int64_t mask_rows) {
  const int64_t max_q = ValidatePrefixes(op, "actual_seq_qlen", in.actual_seq_qlen, in.batch, "T1", in.t1);
  const int64_t max_kv = ValidatePrefixes(op, "actual_seq_kvlen", in.actual_seq_kvlen, in.batch, "T2", in.t2);
  if (in.atten_mask) ValidateMask(op, mask_rows, in.atten_mask_cols, max_q, max_kv);
  int64_t q_start = 0, kv_start = 0;
  for (int64_t b = 0; b < in.batch; ++b) {
    const int64_t bound = CeilDiv(in.actual_seq_kvlen[b] - kv_start, in.select_block_size);
    ValidateIndices(op, in.topk_indices, q_start, in.actual_seq_qlen[b] - q_start, in.n2,
                    in.select_block_count, bound);
    q_start = in.actual_seq_qlen[b];
    kv_start = in.actual_seq_kvlen[b];
  }
}

void ValidateInfer(InferCall* call, const std::string& layout, int64_t mask_rows, const std::string& limits) {
  PagedAttentionParams& p = call->params;
  const bool tnd = layout == "TND";
  ValidateInferLengths(*call, tnd);
  CheckLengthLimits(*call, limits);
  int64_t start = 0;
  for (int64_t b = 0; b < p.batch; ++b) {
    call->query_start.push_back(start);
    start += tnd ? call->q_len[b] : call->s;
  }
  p.query_start = call->query_start.data();
  p.q_len = call->q_len.data();
  const int64_t max_q = p.batch ? *std::max_element(call->q_len.begin(), call->q_len.end()) : 0;
  const int64_t max_kv = p.batch ? *std::max_element(p.kv_len, p.kv_len + p.batch) : 0;
  if (call->token_mask) {
    ValidateTokenMask(p.atten_mask_rows, p.atten_mask_cols, max_q);
  } else if (p.atten_mask) {
    ValidateMask(kInferName, mask_rows, p.atten_mask_cols, max_q, max_kv);
  }
  for (int64_t b = 0; b < p.batch; ++b) {
    const int64_t first = p.query_start[b], bound = CeilDiv(p.kv_len[b], p.select_block_size);
    ValidateIndices(kInferName, p.topk_indices, first, p.q_len[b], p.n2, p.select_block_count, bound);
    for (int64_t token = first; token < first + p.q_len[b]; ++token) ValidatePages(p, b, token, p.kv_len[b]);
  }
}

}  // namespace ms_nsa
