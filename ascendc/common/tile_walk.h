// SPDX-License-Identifier: Apache-2.0
// The tiles of the block-outer kernels that one core does in a segment. Units are laid out on a line of costs
// and cut as in core_split.h; inside a unit the entries go in order of their bits, that is of tokens.
#pragma once

#include "bits.h"
#include "block_workspace.h"
#include "core_split.h"
#include "visible_rows.h"

namespace ms_nsa {

// A unit of work is a kv head and a strip of a select block. Its entries are cut into pieces.
struct TileCut {
  int32_t strip_rows;
  int32_t strips;       // of a block
  int32_t piece_tiles;  // full tiles of a piece
  bool apart;           // no tile crosses pieces, whatever core has them, and each piece shows up
};

MS_NSA_FN TileCut ForwardCut(const AttentionParams& p) {
  return {p.select_block_size, 1, 1, false};
}

struct Strip {
  int64_t row;   // of the sequence: its first
  int64_t rows;  // that exist; 0 or less: none
};

MS_NSA_FN Strip StripOf(const AttentionParams& params, const TileCut& cut, const Segment& segment,
                        int64_t block, int64_t strip) {
  const int64_t offset = strip * cut.strip_rows, row = block * params.select_block_size + offset;
  const int64_t rows = Min<int64_t>(params.select_block_size - offset, cut.strip_rows);
  return {row, Min(segment.kv_len - row, rows)};
}

// Unit (head * blocks + block) * strips + strip.
MS_NSA_FN Strip StripOfUnit(const AttentionParams& params, const TileCut& cut, const Segment& segment,
                            int64_t unit) {
  const int64_t blocks = Max<int64_t>(segment.Blocks(params), 1);
  return StripOf(params, cut, segment, unit / cut.strips % blocks, unit % cut.strips);
}

// Entries of a unit, 0 for a strip behind the sequence, and the pieces that they make.
template <class Index>
MS_NSA_FN int64_t CountOf(const AttentionParams& params, const TileCut& cut, const Segment& segment,
                          const Index& index, int64_t unit) {
  return StripOfUnit(params, cut, segment, unit).rows > 0 ? index.Count(unit / cut.strips) : 0;
}
MS_NSA_FN int64_t PiecesOf(const AttentionParams& params, const TileCut& cut, int64_t count) {
  return CeilDiv<int64_t>(count, TokensOfTile(params) * cut.piece_tiles);
}

struct Tile {
  int32_t head;
  int32_t strip;
  int64_t row;                   // of the sequence: first one of the unit
  int32_t block_rows;            // of the unit
  int32_t rows;                  // of these, those up to the last that the tile's tokens see
  uint64_t hidden;               // of these, rows that its only token does not see, by bits
  bool mixed;                    // its tokens see different rows of these
  int32_t tokens;                // 0: shows a piece without a visible entry, if pieces are apart
  int64_t piece;                 // among all of the segment
  int64_t ordinal;               // among the tiles that have tokens: which of several buffers it uses
  int64_t unit_ordinal;          // likewise for key and value
  bool opens;                    // first of its piece or, if they are not apart, of its unit on this core
  bool first;                    // with this key and value
  int32_t entries[kTileTokens];  // token * SlotStride + slot
};

// The next of what tiles count, from one segment to the next.
struct TileNumbers {
  int64_t ordinal = 0, unit_ordinal = 0;
};

// A token that sees only part of the unit gets a tile of its own: a row hidden from a token must not meet it
// in the arithmetic, not even with weight 0. Index gives Count(block of a head), Word(the same, number),
// FirstWord(the same), before which there is no entry, and Mixes(the same): such tokens share tiles after
// all.
template <class Index, class Source>
class TileWalk {
 public:
  MS_NSA_FN TileWalk(const AttentionParams& params, const Source& source, const Segment& segment,
                     const Index& index, const TileCut& cut, int64_t core, int64_t cores,
                     const TileNumbers& numbers = {})
      : params_(params),
        source_(source),
        segment_(segment),
        index_(index),
        cut_(cut),
        blocks_(segment.Blocks(params)),
        units_(blocks_ * params.kv_heads * cut.strips),
        tile_tokens_(TokensOfTile(params)),
        piece_entries_(tile_tokens_ * cut.piece_tiles),
        words_(CeilDiv<int64_t>(segment.tokens * SlotStride(params), 64)),
        numbers_(numbers) {
    int64_t total = 0;
    for (int64_t unit = 0; unit < units_; ++unit) total += CostOf(unit, 0).cost;
    begin_ = Quota(total, core, cores);
    end_ = Quota(total, core + 1, cores);
  }

  MS_NSA_FN bool Next(Tile& tile) {
    while (!FillTile(tile)) {
      if (fresh_ && cut_.apart) {
        Open(tile);
        return true;
      }
      if (!NextPieces()) return false;
    }
    return true;
  }

  MS_NSA_FN const TileNumbers& numbers() const { return numbers_; }

  // How many tiles this core has, but for tokens that see part of a unit.
  MS_NSA_FN int64_t AboutTiles() const {
    int64_t tiles = 0, start = 0;
    for (int64_t unit = 0; unit < units_ && start < end_; ++unit) {
      const Unit cost = CostOf(unit, start);
      start += cost.cost;
      if (cost.cost == 0 || start <= begin_) continue;
      const int64_t entries = (PieceAt(end_, cost) - PieceAt(begin_, cost)) * piece_entries_;
      tiles += CeilDiv<int64_t>(Min(entries, cost.cost), tile_tokens_);
    }
    return tiles;
  }

 private:
  // Loading key and value costs about as much as kBlockEntries entries.
  static constexpr int64_t kBlockEntries = 16;

  MS_NSA_FN Unit CostOf(int64_t unit, int64_t start) const {
    const int64_t count = CountOf(params_, cut_, segment_, index_, unit);
    const int64_t pieces = PiecesOf(params_, cut_, count);
    return {start, count > 0 ? count + kBlockEntries * (cut_.apart ? pieces : 1) : 0, pieces};
  }

  // The next pieces of this core that may share tiles.
  MS_NSA_FN bool NextPieces() {
    while (piece_ >= last_piece_) {
      if (unit_ >= units_ || start_ >= end_) return false;
      StartUnit();
    }
    const int64_t pieces = cut_.apart ? 1 : last_piece_ - piece_;
    piece_number_ = unit_pieces_ + piece_;
    piece_ += pieces;
    left_ = pieces * piece_entries_;
    fresh_ = true;
    return true;
  }

  MS_NSA_FN void StartUnit() {
    const Unit unit = CostOf(unit_, start_);
    unit_pieces_ = pieces_;
    piece_ = last_piece_ = 0;
    if (unit.cost > 0) {
      piece_ = PieceAt(begin_, unit);
      last_piece_ = PieceAt(end_, unit);
      current_ = unit_;
      if (piece_ < last_piece_) Seek(piece_ * piece_entries_);
    }
    start_ += unit.cost;
    pieces_ += unit.pieces;
    ++unit_;
  }

  // Goes to entry `first` of the unit.
  MS_NSA_FN void Seek(int64_t first) {
    word_number_ = index_.FirstWord(current_ / cut_.strips);
    word_ = Word(word_number_);
    for (int32_t ones = CountOnes(word_); first >= ones && word_number_ + 1 < words_;
         ones = CountOnes(word_)) {
      first -= ones;
      word_ = Word(++word_number_);
    }
    while (first-- > 0) word_ &= word_ - 1;
  }

  MS_NSA_FN uint64_t Word(int32_t number) const { return index_.Word(current_ / cut_.strips, number); }

  MS_NSA_FN bool FindEntry(int32_t& entry) {
    while (word_ == 0) {
      if (++word_number_ >= words_) return false;
      word_ = Word(word_number_);
    }
    entry = word_number_ * 64 + LowestOne(word_);
    return true;
  }

  MS_NSA_FN bool FillTile(Tile& tile) {
    const Strip strip = StripOfUnit(params_, cut_, segment_, current_);
    const bool mixes = index_.Mixes(current_ / cut_.strips);
    int32_t entry = 0;
    tile.tokens = tile.rows = 0;
    tile.hidden = 0;
    tile.mixed = false;
    for (; left_ > 0 && tile.tokens < tile_tokens_ && FindEntry(entry); --left_) {
      const VisibleRows visible =
          VisibleOf(params_, source_, segment_, entry / SlotStride(params_), strip.row, strip.rows);
      const bool part = visible.rows < strip.rows || visible.hidden != 0;
      if (visible.rows > 0 && part && !mixes && tile.tokens > 0) break;
      word_ &= word_ - 1;
      if (visible.rows == 0) continue;
      tile.rows = Max(tile.rows, visible.rows);
      tile.hidden = mixes ? 0 : visible.hidden;
      tile.mixed |= mixes && part;
      tile.entries[tile.tokens++] = entry;
      if (part && !mixes) {
        --left_;
        break;
      }
    }
    if (tile.tokens == 0) {
      left_ = 0;
      return false;
    }
    const bool hides = tile.hidden != 0;  // hidden rows are cleared in L1: nobody else can use those
    tile.first = hides || current_ != loaded_;
    if (tile.first) ++numbers_.unit_ordinal;
    loaded_ = hides ? -1 : current_;
    tile.ordinal = numbers_.ordinal++;
    tile.unit_ordinal = numbers_.unit_ordinal - 1;
    Open(tile);
    return true;
  }

  MS_NSA_FN void Open(Tile& tile) {
    tile.head = current_ / cut_.strips / Max<int64_t>(blocks_, 1);
    tile.strip = current_ % cut_.strips;
    const Strip strip = StripOfUnit(params_, cut_, segment_, current_);
    tile.row = strip.row;
    tile.block_rows = strip.rows;
    tile.piece = piece_number_;
    tile.opens = fresh_;
    fresh_ = false;
  }

  const AttentionParams& params_;
  const Source& source_;
  const Segment& segment_;
  const Index& index_;
  TileCut cut_;
  int64_t blocks_, units_;
  int32_t tile_tokens_, piece_entries_;
  int32_t words_;  // of a mask
  int64_t begin_, end_;
  int64_t unit_ = 0, start_ = 0, pieces_ = 0;      // the next unit, and pieces of those before
  int64_t current_ = 0, unit_pieces_ = 0;          // likewise the unit at hand
  int64_t piece_ = 0, last_piece_ = 0, left_ = 0;  // its next piece, the end of this core's, entries left
  int64_t piece_number_ = 0;
  TileNumbers numbers_;
  int64_t loaded_ = -1;  // the unit whose key and value the tile before has, whole
  bool fresh_ = false;
  int32_t word_number_ = 0;
  uint64_t word_ = 0;
};

}  // namespace ms_nsa
