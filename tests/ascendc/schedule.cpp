// SPDX-License-Identifier: Apache-2.0
// C interface of the kernels' schedule for the Python tests: the same headers, over arrays of the host.
#include <vector>

#include "packed_tokens.h"
#include "paged_tokens.h"
#include "parts.h"
#include "segments.h"

namespace {

struct Arrays {
  const ms_nsa::AttentionParams* params;
  const int32_t* indices;
  const uint8_t* mask;
  const int32_t* pages;
  const int64_t* q_lens;
  const int64_t* kv_lens;

  int64_t QLen(int64_t sequence) const { return q_lens[sequence]; }
  int64_t KvLen(int64_t sequence) const { return kv_lens[sequence]; }
  int64_t Index(int64_t token, int32_t head, int32_t slot) const {
    return indices[(token * params->kv_heads + head) * params->select_block_count + slot];
  }
  int64_t Page(int64_t sequence, int64_t slot) const { return pages[sequence * params->max_blocks + slot]; }
  // Who asks beyond the mask sees rows that nobody should.
  bool Dropped(int64_t index, int64_t row) const {
    const bool covered = index < params->atten_mask_rows && row < params->atten_mask_cols;
    return covered && mask[index * params->atten_mask_cols + row] != 0;
  }
};

struct PagedArrays : Arrays {
  static constexpr bool kPaged = true;
  using Tokens = ms_nsa::PagedTokens<PagedArrays>;
};

struct PackedArrays : Arrays {
  static constexpr bool kPaged = false;
  using Tokens = ms_nsa::PackedTokens<PackedArrays>;
};

template <class Source>
int64_t Steps(const ms_nsa::AttentionParams& params, const Arrays& arrays, int64_t core, int64_t cores,
              int64_t* out) {
  const Source source{arrays};
  ms_nsa::StepWalk<Source> steps(params, source, core, cores);
  ms_nsa::Step step{};
  int64_t count = 0, row = 0;
  for (; steps.Next(step); ++count) {
    const ms_nsa::Part& part = step.part;
    if (step.first) row = part.first_row;
    const int64_t follower = steps.parts().Follower(part.unit, core + 1);
    const int64_t fields[] = {part.token.row, part.head, row,       step.rows,
                              part.starts,    part.ends, step.last, follower};
    for (int64_t field : fields) *out++ = field;
    row += step.rows;
  }
  return count;
}

template <class Source>
int64_t Rows(const ms_nsa::AttentionParams& params, const Arrays& arrays, int64_t token, int32_t head,
             int64_t skip, int64_t limit, int64_t* out) {
  const Source source{arrays};
  typename Source::Tokens tokens(params, source);
  while ((*tokens).row != token) tokens.Advance();
  ms_nsa::RowWalk<Source> walk(params, source, *tokens, head);
  walk.Skip(skip);
  int64_t count = 0;
  for (ms_nsa::RowRun run = walk.Next(limit); run.rows > 0; run = walk.Next(limit)) {
    for (int64_t i = 0; i < run.rows; ++i) out[count++] = run.cache_row + i;
  }
  return count;
}

}  // namespace

// Steps of one core, 8 numbers each: token row, kv head, first row inside the unit, rows, starts, ends,
// whether it is the last step of its part, follower of the unit. Returns how many there are.
extern "C" int64_t HostSteps(const ms_nsa::AttentionParams* params, const Arrays* arrays, int64_t core,
                             int64_t cores, int64_t* out) {
  const auto steps = params->page_block_size ? Steps<PagedArrays> : Steps<PackedArrays>;
  return steps(*params, *arrays, core, cores, out);
}

// Rows of key and value that one token sees through one kv head, taken `limit` at a time. Returns how many.
extern "C" int64_t HostRows(const ms_nsa::AttentionParams* params, const Arrays* arrays, int64_t token,
                            int32_t head, int64_t skip, int64_t limit, int64_t* out) {
  const auto rows = params->page_block_size ? Rows<PagedArrays> : Rows<PackedArrays>;
  return rows(*params, *arrays, token, head, skip, limit, out);
}

// Segments of the block-outer schedule, 4 numbers each: first token row, tokens, index of the first inside
// its sequence, length of the sequence's keys. Returns how many there are.
extern "C" int64_t HostSegments(const ms_nsa::AttentionParams* params, const Arrays* arrays, int64_t* out) {
  const PackedArrays lengths{*arrays};
  ms_nsa::SegmentWalk<PackedArrays> walk(*params, lengths);
  ms_nsa::Segment segment{};
  int64_t count = 0;
  for (; walk.Next(segment); ++count) {
    for (int64_t field : {segment.row, segment.tokens, segment.index, segment.kv_len}) *out++ = field;
  }
  return count;
}
