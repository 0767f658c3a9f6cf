// SPDX-License-Identifier: Apache-2.0
// The slices of rows that one core has in the gradient of compression, each once, with the windows that hold
// it. A piece is some slices of a sequence, the same whatever the number of cores, which share pieces; those
// of a part of the heads are a line, and the parts' lines follow one another.
#pragma once

#include "compress_sequences.h"
#include "core_split.h"

namespace ms_nsa {

struct GradSlice {
  int32_t part;
  int64_t row;         // its first
  int64_t window;      // first one that holds it, numbered through all sequences
  int32_t position;    // of the slice in that window
  int32_t live;        // windows that hold it
  int32_t fresh;       // of these, the last ones that no slice of the piece before this had
  int64_t piece;       // of all sequences
  bool opens, closes;  // the piece
};

MS_NSA_FN int64_t SlicesOfWindows(const CompressParams& p, int64_t windows) {
  return windows == 0 ? 0 : (windows - 1) * SlicesOfStride(p) + SlicesOfWindow(p);
}

// No more than these, whatever the lengths.
MS_NSA_FN int64_t MostPieces(const CompressParams& p) {
  const int64_t sequences = Min(p.batch, p.windows);
  return p.rows / (int64_t{p.slice_rows} * p.piece_slices) + sequences;
}

template <class Lengths>
class CompressGradWalk {
 public:
  MS_NSA_FN CompressGradWalk(const CompressParams& params, const Lengths& lengths, int64_t core,
                             int64_t cores)
      : p_(params), sequences_(params, lengths) {
    for (RawSequence sequence{}; sequences_.Next(sequence);) pieces_ += PiecesOf(sequence);
    Restart();
    at_ = Quota(pieces_ * PartsOf(params), core, cores);
    end_ = Quota(pieces_ * PartsOf(params), core + 1, cores);
  }

  MS_NSA_FN int64_t pieces() const { return pieces_; }

  MS_NSA_FN bool Next(GradSlice& slice) {
    const bool opens = number_ >= last_;
    if (opens && !NextPiece()) return false;
    const int64_t stride = SlicesOfStride(p_), size = SlicesOfWindow(p_);
    const int64_t low = number_ < size ? 0 : CeilDiv(number_ - size + 1, stride);
    const int64_t high = Min(number_ / stride + 1, sequence_.windows);
    slice.part = part_;
    slice.row = sequence_.row + number_ * p_.slice_rows;
    slice.window = sequence_.window + low;
    slice.position = number_ - low * stride;
    slice.live = high - low;
    slice.fresh = opens ? slice.live : high - Max(seen_, low);
    slice.piece = piece_;
    slice.opens = opens;
    slice.closes = ++number_ >= last_;
    seen_ = high;
    return true;
  }

 private:
  MS_NSA_FN int64_t PiecesOf(const RawSequence& sequence) const {
    return CeilDiv<int64_t>(SlicesOfWindows(p_, sequence.windows), p_.piece_slices);
  }

  MS_NSA_FN void Restart() {
    sequences_.Restart();
    sequence_ = {};
    before_ = 0;
  }

  MS_NSA_FN bool NextPiece() {
    if (at_ >= end_) return false;
    part_ = at_ / pieces_;
    piece_ = at_ % pieces_;
    ++at_;
    if (piece_ == 0) Restart();
    while (piece_ >= before_ + PiecesOf(sequence_)) {
      before_ += PiecesOf(sequence_);
      sequences_.Next(sequence_);
    }
    number_ = (piece_ - before_) * p_.piece_slices;
    last_ = Min(number_ + p_.piece_slices, SlicesOfWindows(p_, sequence_.windows));
    return true;
  }

  const CompressParams& p_;
  RawSequences<Lengths> sequences_;
  RawSequence sequence_{};
  int64_t pieces_ = 0, before_ = 0;  // of all sequences, of those before the one at hand
  int64_t at_, end_, piece_ = 0;
  int64_t number_ = 0, last_ = 0, seen_ = 0;  // slices of the sequence; windows of it that are in use
  int32_t part_ = 0;
};

}  // namespace ms_nsa
