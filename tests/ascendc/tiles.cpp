// SPDX-License-Identifier: Apache-2.0
// C interface of the block-outer kernels' tiles for the Python tests: the same headers, over arrays of the
// host.
#include "grad_workspace.h"

namespace {

using ms_nsa::AttentionParams;

struct Arrays {
  const AttentionParams* params;
  const int32_t* indices;
  const uint8_t* mask;
  const int64_t* q_lens;
  const int64_t* kv_lens;

  int64_t QLen(int64_t sequence) const { return q_lens[sequence]; }
  int64_t KvLen(int64_t sequence) const { return kv_lens[sequence]; }
  // Who asks beyond the mask sees rows that nobody should.
  bool Dropped(int64_t index, int64_t row) const {
    const bool covered = index < params->atten_mask_rows && row < params->atten_mask_cols;
    return covered && mask[index * params->atten_mask_cols + row] != 0;
  }
};

// What the device finds in the masks that it builds.
struct Index {
  const Arrays& arrays;
  const ms_nsa::Segment& segment;

  bool Selects(int64_t unit, int64_t entry) const {
    const AttentionParams& p = *arrays.params;
    const int64_t blocks = segment.Blocks(p), stride = SlotStride(p);
    const int64_t token = entry / stride, slot = entry % stride;
    if (token >= segment.tokens || slot >= p.select_block_count) return false;
    const int64_t row = (segment.row + token) * p.kv_heads + unit / blocks;
    return arrays.indices[row * p.select_block_count + slot] == unit % blocks;
  }
  uint64_t Word(int64_t unit, int32_t number) const {
    uint64_t word = 0;
    for (int64_t bit = 0; bit < 64; ++bit) word |= uint64_t{Selects(unit, number * 64 + bit)} << bit;
    return word;
  }
  int32_t FirstWord(int64_t) const { return 0; }
  bool Mixes(int64_t) const { return false; }
  int64_t Count(int64_t unit) const {
    int64_t count = 0;
    const int64_t entries = segment.tokens * SlotStride(*arrays.params);
    for (int64_t entry = 0; entry < entries; ++entry) count += Selects(unit, entry);
    return count;
  }
};

int64_t* Write(const AttentionParams& params, const ms_nsa::Segment& segment, const ms_nsa::Tile& tile,
               int64_t* out) {
  const int64_t fields[] = {
      segment.row, tile.head,  tile.row,   tile.block_rows, tile.rows, static_cast<int64_t>(tile.hidden),
      tile.piece,  tile.opens, tile.first, tile.tokens};
  for (int64_t field : fields) *out++ = field;
  for (int32_t i = 0; i < tile.tokens; ++i) {
    *out++ = segment.row + tile.entries[i] / SlotStride(params);
    *out++ = tile.entries[i] % SlotStride(params);
  }
  return out;
}

}  // namespace

// Tiles of one core, of the forward or of the gradient: ten numbers each, then token row and slot of each of
// its tokens. Returns how many numbers there are.
extern "C" int64_t HostTiles(const AttentionParams* params, const Arrays* arrays, int gradient, int64_t core,
                             int64_t cores, int64_t* out) {
  const ms_nsa::TileCut cut = gradient ? ms_nsa::GradCut(*params) : ms_nsa::ForwardCut(*params);
  int64_t* const begin = out;
  ms_nsa::SegmentWalk<Arrays> segments(*params, *arrays);
  ms_nsa::Segment segment{};
  while (segments.Next(segment)) {
    const Index index{*arrays, segment};
    ms_nsa::TileWalk<Index, Arrays> walk(*params, *arrays, segment, index, cut, core, cores);
    ms_nsa::Tile tile;
    while (walk.Next(tile)) out = Write(*params, segment, tile, out);
  }
  return out - begin;
}
