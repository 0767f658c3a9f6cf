// SPDX-License-Identifier: Apache-2.0
// Brings a segment's parts together: the query gradients of a token's blocks, and the gradients of keys and
// values that the pieces of a strip and earlier segments left. Always in the same order, so that results do
// not depend on which core made which part.
#pragma once

#include "grad_exchange.h"
#include "side_buffers.h"

namespace ms_nsa {

template <class T, class Rule>
class GradSums {
 public:
  __aicore__ inline GradSums(const AttentionParams& params, const GradAddresses& gm,
                             const typename Rule::Source& source, SideBuffers& buffers)
      : p_(params),
        source_(source),
        cut_(GradCut(params)),
        buffers_(buffers),
        exchange_(params, gm.workspace, 0, 0) {
    dq_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.dq));
    dk_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.dk));
    dv_.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(gm.dv));
  }

  // To be followed by any number of Step() and by Finish().
  __aicore__ inline void Start(const Segment& segment, const GradExchange<T>& exchange) {
    segment_ = segment;
    exchange_ = exchange;
    const int64_t cores = AscendC::GetBlockNum() * kVectorCores, core = AscendC::GetBlockIdx();
    const int64_t items = segment.tokens * p_.kv_heads * Shares();
    const int64_t bands = segment.Blocks(p_) * p_.kv_heads * cut_.strips * Bands();
    item_ = Quota(items, core, cores);
    last_item_ = Quota(items, core + 1, cores);
    round_ = 0;
    band_ = core;
    bands_ = bands;
    band_steps_ = BandSteps();
    unit_ = 0;
    piece_ = 0;
    pieces_ = Pieces(0);
    part_ = 0;
  }

  // About how many steps there are.
  __aicore__ inline int64_t Steps() const {
    const int64_t entries = int64_t{p_.select_block_count} * cut_.strips;
    return (last_item_ - item_) * CeilDiv<int64_t>(entries, kSums / (Heads() * p_.d1)) + band_steps_;
  }

  // Loads a group of vectors and adds the one loaded before; false when there was nothing left to do.
  __aicore__ inline bool Step() {
    Group group{};
    const bool more = Load(group);
    if (pending_) Add(adding_);
    const bool busy = more || pending_;
    pending_ = more;
    adding_ = group;
    return busy;
  }

  __aicore__ inline void Finish() {
    while (Step()) {
    }
  }

 private:
  enum class Kind : int32_t { kQuery, kKey, kValue };

  // Vectors of one result that are added in one go.
  struct Group {
    Kind kind;
    bool first, last, carry;  // of the result; it goes to the next segment
    int32_t vectors, rows, width;
    int64_t place;   // of the result: in rows of dq, or of the kv rows
    int32_t head;    // of a key or value
    int32_t buffer;  // slot of the vectors
    int32_t result;  // slot of the result
  };

  static constexpr int32_t kSums = SideBuffers::kFloats;  // of a group of vectors, and of a result
  static constexpr int32_t kBandRows = 8;
  static_assert(kBandRows * kMaxWidth * 4 <= kSums * 2 && kMaxWidth <= kSums, "a band in float, a row");
  static constexpr int32_t kEvents = SideBuffers::kEvents;

  // About how many groups of vectors this AIV's bands make. With an index, one for each band: nearly all
  // blocks are selected by some token, and a band is a group at least, so that its volume would make too few,
  // and the rest would run after the tiles (4 % of the gradient of selected attention on 24 cores).
  __aicore__ inline int64_t BandSteps() const {
    if (Rule::kIndexed) return CeilDiv<int64_t>(bands_ - band_, BandStep());
    int64_t pieces = 0;
    for (int64_t unit = 0; unit * Bands() < bands_; ++unit) pieces += Pieces(unit);
    return CeilDiv(pieces * cut_.strip_rows * (p_.d1 + p_.d2), kSums * BandStep());
  }

  // Query heads of a result, and how many of these make a group.
  __aicore__ inline int32_t Heads() const { return Min(p_.group, kSums / p_.d1); }
  __aicore__ inline int32_t Shares() const { return CeilDiv(p_.group, Heads()); }

  // The AIVs take bands in turn, because only a few strips may be seen. Each round starts one AIV further, so
  // that every AIV gets bands of keys and of values.
  __aicore__ inline int64_t BandStep() const { return AscendC::GetBlockNum() * kVectorCores; }
  __aicore__ inline void NextBand() {
    ++round_;
    band_ = round_ * BandStep() + (AscendC::GetBlockIdx() + round_) % BandStep();
  }
  __aicore__ inline int32_t Bands() const { return 2 * cut_.strip_rows / kBandRows; }
  __aicore__ inline int64_t Pieces(int64_t unit) const {
    if (unit * Bands() >= bands_) return 0;
    const typename Rule::Index index = Rule::IndexOf(source_, segment_, exchange_.index);
    return PiecesOf(p_, cut_, CountOf(p_, cut_, segment_, index, unit));
  }
  // No earlier segment, and no later one, has to do with the unit's block.
  __aicore__ inline bool Starts() const { return Rule::Starts(source_, segment_, Block()); }
  __aicore__ inline bool Ends() const { return Rule::Ends(source_, segment_, Block()); }
  __aicore__ inline int64_t Block() const { return unit_ / cut_.strips % segment_.Blocks(p_); }

  __aicore__ inline bool Load(Group& group) {
    const bool query = item_ < last_item_;
    if (!query && !FindBand()) return false;
    group.buffer = buffer_;
    group.result = result_;
    group.first = part_ == 0;
    AscendC::WaitFlag<AscendC::HardEvent::V_MTE2>(kEvents + buffer_);
    if (query) {
      LoadQuery(group);
    } else {
      LoadBand(group);
    }
    AscendC::SetFlag<AscendC::HardEvent::MTE2_V>(kEvents + buffer_);
    buffer_ = 1 - buffer_;
    if (group.last) {
      result_ = 1 - result_;
      part_ = 0;
    }
    return true;
  }

  // The same rule by which the tiles left an entry out.
  __aicore__ inline bool HasEntry(int64_t token, int32_t head, int32_t part) const {
    const int64_t block = Rule::BlockOf(p_, source_, segment_, token, head, part / cut_.strips);
    if (block < 0) return false;
    const Strip strip = StripOf(p_, cut_, segment_, block, part % cut_.strips);
    return VisibleOf(p_, source_, segment_, token, strip.row, strip.rows).rows > 0;
  }

  __aicore__ inline void LoadQuery(Group& group) {
    const int64_t pair = item_ / Shares(), token = pair / p_.kv_heads;
    const int32_t head = pair % p_.kv_heads, parts = p_.select_block_count * cut_.strips;
    const int32_t first = item_ % Shares() * Heads();  // query head
    group.kind = Kind::kQuery;
    group.rows = Min(p_.group - first, Heads());
    group.width = p_.d1;
    group.place = (segment_.row * p_.kv_heads + pair) * p_.group + first;
    const int32_t capacity = kSums / (group.rows * p_.d1);
    const int64_t start = Rule::FirstPart(p_, token, head);
    int32_t run = 0;  // parts that follow one another are one copy
    for (; part_ < parts; ++part_) {
      const bool has = HasEntry(token, head, part_);
      if (has && group.vectors + run == capacity) break;
      if (has) {
        ++run;
      } else {
        LoadParts(group, start + (part_ - run) * Rule::PartStep(p_), first, run);
      }
    }
    LoadParts(group, start + (part_ - run) * Rule::PartStep(p_), first, run);
    group.last = part_ >= parts;
    if (group.last) ++item_;
  }

  // Of `run` parts, the first at place `part`, the query heads from `first` on.
  __aicore__ inline void LoadParts(Group& group, int64_t part, int32_t first, int32_t& run) {
    if (run == 0) return;
    const int32_t floats = group.rows * p_.d1, all = p_.group * p_.d1;
    const AscendC::GlobalTensor<float> from = exchange_.sums[part * all + first * p_.d1];
    CopyPieces(buffers_.Loaded<float>(buffer_)[group.vectors * floats], from, run, floats,
               Rule::PartStep(p_) * all);
    group.vectors += run;
    run = 0;
  }

  // Goes to the next band that has something to add or to hand on; outputs start as zeros.
  __aicore__ inline bool FindBand() {
    for (; band_ < bands_; NextBand()) {
      for (; unit_ < band_ / Bands(); pieces_ = Pieces(unit_)) {
        piece_ += pieces_;
        ++unit_;
      }
      if (part_ > 0) return true;
      if (pieces_ == 0 && (!Rule::kGaps || Starts() == Ends())) continue;
      if (BandRows() > 0) return true;
    }
    return false;
  }

  __aicore__ inline int32_t BandInStrip() const { return band_ % Bands() / 2; }
  __aicore__ inline int64_t BandRows() const {
    const Strip strip = StripOfUnit(p_, cut_, segment_, unit_);
    return Min<int64_t>(strip.rows - BandInStrip() * kBandRows, kBandRows);
  }

  // Keys and values in turn. Vector 0 is that of earlier segments, if there are any.
  __aicore__ inline void LoadBand(Group& group) {
    const bool key = band_ % 2 == 0;
    const int64_t offset = BandInStrip() * kBandRows;
    group.kind = key ? Kind::kKey : Kind::kValue;
    group.rows = BandRows();
    group.width = key ? p_.d1 : p_.d2;
    group.head = unit_ / cut_.strips / segment_.Blocks(p_);
    group.place = segment_.kv_start + StripOfUnit(p_, cut_, segment_, unit_).row + offset;
    group.carry = !Ends();
    const int64_t parts = pieces_ + !Starts();
    const int32_t floats = group.rows * group.width;
    for (; part_ < parts && (group.vectors + 1) * floats <= kSums; ++part_) {
      const Floats to = buffers_.Loaded<float>(buffer_)[group.vectors++ * floats];
      if (part_ == 0 && !Starts()) {
        AscendC::DataCopy(to, CarryOf(group), floats);
        continue;
      }
      const PiecePlace piece = PlaceOfPiece(p_, piece_ + part_ - !Starts());
      const int64_t at = piece.at + (key ? 0 : piece.floats) + offset * group.width;
      AscendC::DataCopy(to, exchange_.pieces[at], floats);
    }
    group.last = part_ >= parts;
    if (group.last) NextBand();
  }

  __aicore__ inline AscendC::GlobalTensor<float> CarryOf(const Group& group) const {
    const int64_t row = group.head * p_.kv_rows + group.place;
    return (group.kind == Kind::kKey ? exchange_.key_sums : exchange_.value_sums)[row * group.width];
  }

  __aicore__ inline void Add(const Group& group) {
    const int32_t floats = group.rows * group.width;
    const Floats sums = buffers_.Loaded<float>(group.buffer), total = buffers_.Array();
    AscendC::WaitFlag<AscendC::HardEvent::MTE2_V>(kEvents + group.buffer);
    FoldVectors<false>(sums, group.vectors, floats);
    if (group.first && group.vectors == 0) AscendC::Duplicate(total, 0.0f, floats);
    if (group.first && group.vectors > 0) AscendC::Adds(total, sums, 0.0f, floats);
    if (!group.first && group.vectors > 0) AscendC::Add(total, total, sums, floats);
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::SetFlag<AscendC::HardEvent::V_MTE2>(kEvents + group.buffer);
    if (group.last) Store(group);
  }

  __aicore__ inline void Store(const Group& group) {
    const int32_t floats = group.rows * group.width;
    AscendC::WaitFlag<AscendC::HardEvent::MTE3_V>(kEvents + group.result);
    if (group.carry) {
      AscendC::Adds(buffers_.Result<float>(group.result), buffers_.Array(), 0.0f, floats);
    } else {
      if (group.kind != Kind::kValue)
        AscendC::Muls(buffers_.Array(), buffers_.Array(), p_.scale_value, floats);
      AscendC::PipeBarrier<PIPE_V>();
      AscendC::Cast(buffers_.template Result<T>(group.result), buffers_.Array(),
                    AscendC::RoundMode::CAST_RINT, floats);
    }
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::SetFlag<AscendC::HardEvent::V_MTE3>(kEvents + group.result);
    AscendC::WaitFlag<AscendC::HardEvent::V_MTE3>(kEvents + group.result);
    if (group.carry) {
      AscendC::DataCopy(CarryOf(group), buffers_.Result<float>(group.result), floats);
    } else if (group.kind == Kind::kQuery) {
      AscendC::DataCopy(dq_[group.place * group.width], buffers_.template Result<T>(group.result), floats);
    } else {
      StoreKv(group);
    }
    AscendC::SetFlag<AscendC::HardEvent::MTE3_V>(kEvents + group.result);
  }

  __aicore__ inline void StoreKv(const Group& group) {
    const uint32_t bytes = group.width * sizeof(T), skip = (p_.kv_heads - 1) * bytes;
    const int64_t at = (group.place * p_.kv_heads + group.head) * group.width;
    AscendC::DataCopyPad((group.kind == Kind::kKey ? dk_ : dv_)[at],
                         buffers_.template Result<T>(group.result),
                         {static_cast<uint16_t>(group.rows), bytes, 0, skip, 0});
  }

  const AttentionParams& p_;
  const typename Rule::Source& source_;
  TileCut cut_;
  SideBuffers& buffers_;
  Segment segment_{};
  GradExchange<T> exchange_;
  int64_t item_ = 0, last_item_ = 0;          // tokens and kv heads
  int64_t band_ = 0, bands_ = 0, round_ = 0;  // some rows of a unit's keys or values
  int64_t band_steps_ = 0;
  int64_t unit_ = 0, piece_ = 0, pieces_ = 0;  // of the band, its first piece and how many it has
  int32_t part_ = 0;                           // of the result at hand: loading goes on here
  int32_t buffer_ = 0, result_ = 0;
  Group adding_{};
  bool pending_ = false;
  AscendC::GlobalTensor<T> dq_, dk_, dv_;
};

}  // namespace ms_nsa
