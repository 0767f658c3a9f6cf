// SPDX-License-Identifier: Apache-2.0
// Sizes of tiles, chunks and shares of work that several files use, each with its reason. Sizes that only one
// file uses are in that file: unrolled steps, panels of columns, rows that are prefetched. Register tiles are
// in the vector types (simd/*.h).
#pragma once

#include <cstdint>

namespace ms_nsa {
namespace {

// Keys per tile: the visibility of a row is one 64-bit word, and K and V of 64 keys at 192/128 (40 KB in
// bf16) stay in the nearest caches while the rows stream by. Larger select blocks are several tiles.
constexpr int kKeyTile = 64;

// Rows scored together in the forward: the packed keys are read from L1 by all of them before the packed
// values are. Products by matrix tiles are so short that the packed operands, which come from L2, want more
// rows: 7 to 10 % of the forward (192 rows gain no more).
template <class Dot>
constexpr int kForwardRows = Dot::kMatrixTiles ? 96 : 48;

// The rows of a chunk with more bytes than twice L2, and at most so many, are fetched a batch ahead: 12 % of
// the forward of 4096 tokens over 65536 keys, 5 % of that over 4096 where L2 has 512 KB. For smaller chunks
// it costs up to 4 %.
constexpr int64_t kNearBytes = int64_t{2} << 20;

// Query and output rows that a chunk fetches ahead when it starts and ends.
constexpr int64_t kRowsAhead = 8;

// Rows of one step of the backward: they are the depth of the dK and dV products, whose fp32 tiles are loaded
// and stored once a step; 96 keeps that under a tenth of the products and all operands of the step within L2.
constexpr int kBackwardRows = 96;

// Bytes of per-row scratch (operand rows and fp32 results) of one token chunk. With half of it, long
// sequences of keys, whose blocks few tokens of a chunk share, took 10 % longer.
constexpr int64_t kChunkBytes = int64_t{8} << 20;

// The same where the forward packs all blocks once for a call: chunks need not be large to make packing cheap
// then, and chunks of this size stay in L2.
constexpr int64_t kPackedChunkBytes = int64_t{3} << 19;

// A chunk wants about this many rows per select block, so that packing the block is a small part of the work
// (with 256 the forward took 1 to 3 % longer, with 512 as well; where products are made of vectors, packing
// every block once for all chunks gained nothing, and lost 6 % at one head a group)...
constexpr int64_t kRowsPerBlock = 384;

// ...but not more tokens than this, so that there are chunks enough to share out.
constexpr int64_t kMaxChunkTokens = 4096;
constexpr int64_t kMinChunkTokens = 16;

// Rows of a chunk of the sliding window. They stay in L2, which is worth more than packing every block for
// each chunk that sees it (5 times for windows of 512 at 4 heads a group): the forward is 10 to 15 % faster
// than with chunks of 8 MB, the gradient 5 to 10 %. Smaller chunks did not speed up the gradient of
// compressed attention.
constexpr int64_t kWindowRows = 512;

// Entries of one chunk's inverse index (8 bytes each).
constexpr int64_t kMaxChunkEntries = int64_t{1} << 18;

// With fewer kv heads than this the backward divides the kv blocks into parts, so that a single sequence
// gives about as many tasks. Every task packs the chunk's rows again: 16 tasks instead of 4 cost 15 to 20 %
// on two threads.
constexpr int64_t kBackwardTasks = 4;

// Cache rows that decode scores and then weighs together, at most...
constexpr int kDecodeRows = 64;

// ...and for this number of query heads per kv head.
constexpr int64_t DecodeRows(int64_t group) {
  return group <= 8 ? 32 : kDecodeRows;
}

// Decode processes a token's rows in parts of at least this many; then it merges the results. The parts
// follow from the token's own rows, so that its result does not depend on what else is in the batch; merging
// costs next to nothing.
constexpr int64_t kMinPartRows = 256;
constexpr int64_t kMaxParts = 32;

// A thread takes whole tokens if there are at least this many per thread, otherwise single parts.
constexpr int64_t kWholeItems = 8;

// It takes all kv heads of a token together if there are at least this many tokens per thread: a cache row
// holds them side by side...
constexpr int64_t kWholeTokens = 4;

// ...or as many as leave the rows of a tile, and of the next one, room in L2.
constexpr int64_t kSharedTileBytes = 1 << 18;

// A decode call that reads less from the cache than this (about 20 us) runs on one thread.
constexpr int64_t kOneThreadBytes = 200000;

}  // namespace
}  // namespace ms_nsa
