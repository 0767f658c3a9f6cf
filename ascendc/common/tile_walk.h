// The tiles of the block-outer forward that one core does in a segment. Units are laid out on a line of costs
// and cut as in core_split.h; inside a unit the entries go in order of their bits, that is of tokens.
#pragma once

#include "bits.h"
#include "block_workspace.h"
#include "core_split.h"
#include "segments.h"

namespace ms_nsa {

struct Tile {
  int32_t head;
  int64_t block;
  int32_t rows;  // kv rows that every token of the tile sees, the first of the block
  int32_t tokens;
  int64_t ordinal;               // which of two buffers it uses
  int64_t unit_ordinal;          // likewise for key and value
  bool first;                    // of its unit on this core
  int32_t entries[kTileTokens];  // token * SlotStride + slot
};

// A token that sees only part of the block gets a tile of its own: a row hidden from a token must not meet it
// in the arithmetic, not even with weight 0. Index gives Count(unit) and Word(unit, number).
template <class Index>
class TileWalk {
 public:
  MS_NSA_FN TileWalk(const AttentionParams& params, const Segment& segment, const Index& index, int64_t core,
                     int64_t cores)
      : params_(params),
        segment_(segment),
        index_(index),
        blocks_(segment.Blocks(params)),
        units_(blocks_ * params.kv_heads),
        tile_tokens_(TokensOfTile(params)),
        words_(CeilDiv<int64_t>(segment.tokens * SlotStride(params), 64)) {
    int64_t total = 0;
    for (int64_t unit = 0; unit < units_; ++unit) total += CostOf(unit).cost;
    begin_ = Quota(total, core, cores);
    end_ = Quota(total, core + 1, cores);
  }

  MS_NSA_FN bool Next(Tile& tile) {
    while (!FillTile(tile)) {
      if (!NextUnit()) return false;
    }
    return true;
  }

  // About how many tiles this core has.
  MS_NSA_FN int64_t AboutTiles() const {
    return CeilDiv<int64_t>(end_ - begin_, tile_tokens_ + kBlockEntries / 4);
  }

 private:
  // Loading key and value costs about as much as kBlockEntries entries.
  static constexpr int64_t kBlockEntries = 16;

  MS_NSA_FN Unit CostOf(int64_t unit) const {
    const int64_t count = index_.Count(unit);
    return {start_, count > 0 ? count + kBlockEntries : 0, CeilDiv<int64_t>(count, tile_tokens_)};
  }

  MS_NSA_FN bool NextUnit() {
    while (unit_ < units_ && start_ < end_) {
      const Unit unit = CostOf(unit_);
      if (unit.cost > 0) {
        const int64_t first = PieceAt(begin_, unit), last = PieceAt(end_, unit);
        left_ = (last - first) * tile_tokens_;
        if (first < last) Start(first * tile_tokens_);
      }
      start_ += unit.cost;
      ++unit_;
      if (left_ > 0) return true;
    }
    return false;
  }

  // Goes to entry `first` of the unit.
  MS_NSA_FN void Start(int64_t first) {
    current_ = unit_;
    fresh_ = true;
    word_number_ = 0;
    word_ = index_.Word(unit_, 0);
    for (int32_t ones = CountOnes(word_); first >= ones && word_number_ + 1 < words_;
         ones = CountOnes(word_)) {
      first -= ones;
      word_ = index_.Word(unit_, ++word_number_);
    }
    while (first-- > 0) word_ &= word_ - 1;
  }

  MS_NSA_FN bool FindEntry(int32_t& entry) {
    while (word_ == 0) {
      if (++word_number_ >= words_) return false;
      word_ = index_.Word(current_, word_number_);
    }
    entry = word_number_ * 64 + LowestOne(word_);
    return true;
  }

  MS_NSA_FN bool FillTile(Tile& tile) {
    const int64_t block = current_ % Max<int64_t>(blocks_, 1), start = block * params_.select_block_size;
    const int64_t whole = Min<int64_t>(segment_.kv_len - start, params_.select_block_size);
    int32_t entry = 0;
    tile.tokens = 0;
    for (; left_ > 0 && tile.tokens < tile_tokens_ && FindEntry(entry); --left_) {
      const int64_t token = entry / SlotStride(params_);
      const int64_t rows = Min(segment_.Visible(params_.sparse_mode, token) - start, whole);
      if (rows > 0 && rows < whole && tile.tokens > 0) break;
      word_ &= word_ - 1;
      if (rows <= 0) continue;
      tile.rows = rows;
      tile.entries[tile.tokens++] = entry;
      if (rows < whole) {
        --left_;
        break;
      }
    }
    if (tile.tokens == 0) {
      left_ = 0;
      return false;
    }
    Number(tile, block);
    return true;
  }

  MS_NSA_FN void Number(Tile& tile, int64_t block) {
    tile.head = current_ / blocks_;
    tile.block = block;
    tile.first = fresh_;
    if (fresh_) ++unit_ordinal_;
    fresh_ = false;
    tile.ordinal = ordinal_++;
    tile.unit_ordinal = unit_ordinal_;
  }

  const AttentionParams& params_;
  const Segment& segment_;
  const Index& index_;
  int64_t blocks_, units_;
  int32_t tile_tokens_;
  int32_t words_;  // of a mask
  int64_t begin_, end_;
  int64_t unit_ = 0, start_ = 0;    // the next unit
  int64_t current_ = 0, left_ = 0;  // the unit at hand and what is left of its entries for this core
  int64_t ordinal_ = 0, unit_ordinal_ = -1;
  bool fresh_ = false;
  int32_t word_number_ = 0;
  uint64_t word_ = 0;
};

}  // namespace ms_nsa
