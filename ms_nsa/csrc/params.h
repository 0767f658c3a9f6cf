// SPDX-License-Identifier: Apache-2.0
// The contract between the binding and the kernels: shapes, strides by convention (dense, row-major),
// nullability.
#pragma once

#include <cstdint>

namespace ms_nsa {

enum class DType : int32_t { kFloat16, kBFloat16, kFloat32 };

enum class SparseMode : int32_t {
  kAll = 0,             // no causal rule
  kLeftUpCausal = 2,    // kv row j is visible to query s when j <= s
  kRightDownCausal = 3  // kv row j is visible to query s when j <= s + Sk - Sq
};

// Which keys of its sequence a token sees, in addition to the causal rule.
enum class KeyRule : int32_t {
  kSelected,   // those of its blocks in topk_indices
  kWindow,     // the last window_size up to its own
  kCompressed  // keys are compressed rows: those whose windows of raw rows end at or before the token
};

// Shared by the training forward and its gradient. Layout TND: sequences are concatenated.
struct PackedAttentionInputs {
  const void* query;            // [t1, n1, d1]
  const void* key;              // [t2, n2, d1]
  const void* value;            // [t2, n2, d2]
  const int32_t* topk_indices;  // [t1, n2, select_block_count], block number inside the token's own sequence;
                                // < 0: absent; nullptr unless key_rule is kSelected
  const uint8_t* atten_mask;    // [>= max Sq, atten_mask_cols >= max Sk], non-zero = drop; nullptr: no mask
  const int64_t* actual_seq_qlen;   // [batch], inclusive prefix sums, last == t1; never nullptr
  const int64_t* actual_seq_kvlen;  // [batch], inclusive prefix sums of keys, last == t2 (<= t2 if
                                    // compressed); never nullptr
  const int64_t* raw_seq_kvlen;  // kCompressed: [batch], inclusive prefix sums of raw rows; otherwise nullptr
  int64_t batch, t1, t2, n1, n2, d1, d2;
  // Without topk_indices: the keys that are worked on together, and the most of such blocks that a token
  // sees.
  int64_t select_block_size, select_block_count;
  int64_t window_size;                           // kWindow
  int64_t compress_block_size, compress_stride;  // kCompressed
  int64_t atten_mask_cols;                       // row stride of atten_mask; 0 without a mask
  int64_t max_threads;                           // 0: no limit (runtime/thread_number.h)
  float scale_value;
  DType dtype;  // of query, key, value, attention_out, grad, dq, dk, dv
  SparseMode sparse_mode;
  KeyRule key_rule;
};

struct PackedAttentionParams {
  PackedAttentionInputs in;
  void* attention_out;  // [t1, n1, d2]
  float* softmax_max;   // [t1, n1, kStatLanes], the value repeated
  float* softmax_sum;   // [t1, n1, kStatLanes]
};

struct PackedAttentionGradParams {
  PackedAttentionInputs in;
  const void* grad;           // [t1, n1, d2], gradient of attention_out
  const void* attention_out;  // [t1, n1, d2]
  const float* softmax_max;   // [t1, n1, kStatLanes], lane 0 is read
  const float* softmax_sum;   // [t1, n1, kStatLanes]
  // [t1, n1, kStatLanes], gradients of the statistics, of which the lanes are summed; nullptr: zeros
  const float* softmax_max_grad;
  const float* softmax_sum_grad;
  void* dq;  // [t1, n1, d1]
  void* dk;  // [t2, n2, d1]
  void* dv;  // [t2, n2, d2]
};

// What determines the blocks that compressed attention chooses, in addition to their importance.
struct BlockChoice {
  int64_t block_size, block_count;  // select_block_size, select_block_count
  int64_t init_blocks, local_blocks;
  const uint8_t*
      topk_mask;  // [>= max Sq, cols >= most blocks of a sequence], non-zero = choose; nullptr: none
  int64_t topk_mask_cols;
};

// Decode over a paged cache. The three layouts differ only in where a sequence's tokens start, so the binding
// turns them into query_start and the kernel sees token rows.
struct PagedAttentionParams {
  const void* query;  // [tokens, n1, d1]
  const void* key;    // [num_blocks, page_block_size, n2, d1], or [num_blocks, n2, page_block_size, d1]
  const void* value;  // likewise with d2
  const int32_t* topk_indices;  // [tokens, n2, select_block_count]; < 0: absent; nullptr unless key_rule is
                                // kSelected
  const int32_t*
      block_table;  // [batch, max_blocks]; only the first ceil(kv_len / page_block_size) entries are read
  // Non-zero = drop; nullptr: no mask. [>= max q_len, atten_mask_cols >= max kv_len] for all sequences, or
  // [batch, atten_mask_rows, atten_mask_cols], both >= max q_len, whose columns are a sequence's new tokens.
  const uint8_t* atten_mask;
  const int64_t* query_start;  // [batch], first token row of the sequence
  const int64_t* q_len;   // [batch], tokens of the sequence; rows owned by no sequence are written as zeros
  const int64_t* kv_len;  // [batch], raw rows of the sequence, which are those of the cache unless it holds
                          // compressed ones; token i sees kv_len - (q_len - 1 - i)
  int64_t batch, tokens, n1, n2, d1, d2;
  int64_t num_blocks, page_block_size, max_blocks;
  // Without topk_indices: the rows that are worked on together, and the most of such blocks that a token
  // sees.
  int64_t select_block_size, select_block_count;
  int64_t window_size;                           // kWindow
  int64_t compress_block_size, compress_stride;  // kCompressed
  int64_t atten_mask_rows;                       // 0 for one mask of all sequences
  int64_t atten_mask_cols;
  int64_t max_threads;  // 0: no limit (runtime/thread_number.h)
  float scale_value;
  DType dtype;
  KeyRule key_rule;
  bool heads_first;           // pages are [n2, page_block_size, d]
  SparseMode sparse_mode;     // kLeftUpCausal further limits token i to rows j <= i; the others add nothing
  void* attention_out;        // [tokens, n1, d2]
  float* softmax_max;         // [tokens, n1, kStatLanes], the value repeated; nullptr: not wanted
  float* softmax_sum;         // likewise
  const BlockChoice* choice;  // with kCompressed; without a topk_mask
  int32_t* chosen_indices;    // with a choice: [tokens, n2, choice->block_count], ascending, then -1
};

// Compression. Window c of a sequence is its raw rows [c * compress_stride, + compress_block_size); windows
// end inside their sequence. The windows of all sequences follow one another.
struct CompressInputs {
  const void* input;              // [t2, n2, d]
  const void* weight;             // [compress_block_size, n2]; nullptr: the mean
  const int64_t* actual_seq_len;  // [batch], inclusive prefix sums of raw rows, last == t2
  int64_t batch, t2, n2, d;
  int64_t compress_block_size, compress_stride;
  int64_t max_threads;  // 0: no limit (runtime/thread_number.h)
  DType dtype;          // of all tensors
};

struct CompressParams {
  CompressInputs in;
  int64_t rows;  // of output, at least as many as there are windows; the further ones become 0
  void* output;  // [rows, n2, d]
};

struct CompressGradParams {
  CompressInputs in;
  const void* grad;   // [>= number of windows, n2, d]
  void* input_grad;   // [t2, n2, d]
  void* weight_grad;  // [compress_block_size, n2]; nullptr: not wanted
};

// The windows that end within the newest raw rows of each sequence of a paged cache.
struct PagedCompressParams {
  const void* input;            // pages as in PagedAttentionParams
  const void* weight;           // as in CompressInputs
  const int32_t* slot_mapping;  // [batch, slots]; < 0: drop; read for new windows only
  const int32_t* block_table;   // [batch, max_blocks]
  const int64_t* kv_len;        // [batch], raw rows of the sequence, the new ones included
  const int64_t* q_len;         // [batch], how many of them are new
  int64_t batch, slots, n2, d, num_blocks, page_block_size, max_blocks;
  int64_t compress_block_size, compress_stride;
  int64_t max_threads;
  bool heads_first;
  DType dtype;
  void* rows;              // [batch, slots, n2, d]; 0 where there is nothing to write
  int32_t* written_slots;  // [batch, slots]; -1 there
};

struct CompressAttentionParams {
  PackedAttentionInputs in;  // key_rule is kCompressed
  BlockChoice choice;
  void* attention_out;    // [t1, n1, d2]; nullptr: not wanted
  int32_t* topk_indices;  // [t1, n2, block_count], ascending, then -1
  float* softmax_max;     // [t1, n1, kStatLanes], the value repeated
  float* softmax_sum;
};

// Which way the factors of a product lie: "rows" of a factor have the depth's elements one after another.
enum class ProductOf : int32_t {
  kRowsAndRows,       // a [rows, depth], b [columns, depth]
  kRowsAndColumns,    // a [rows, depth], b [depth, columns]
  kColumnsAndColumns  // a [depth, rows], b [depth, columns]
};

struct MatrixProductParams {
  const void* a;
  const void* b;
  void* c;  // [rows, columns]
  int64_t rows, columns, depth;
  ProductOf of;
  int64_t max_threads;
  DType dtype;  // of all three
};

constexpr int64_t kBranches = 3;  // of attention: compressed, selected, window

// Branches and gates of rows of tokens and heads.
struct GatedSumInputs {
  const void* branch[kBranches];  // [rows, width]
  const float* gates;             // [rows, kBranches]
  int64_t rows, width;
  int64_t max_threads;
  DType dtype;
};

struct GatedSumParams {
  GatedSumInputs in;
  void* output;  // [rows, width]
};

struct GatedSumGradParams {
  GatedSumInputs in;
  const void* grad;              // [rows, width], of the output
  void* branch_grad[kBranches];  // [rows, width]
  float* gates_grad;             // [rows, kBranches]
};

constexpr int64_t kMostTerms = 8;  // of a sum

struct SumParams {
  const void* term[kMostTerms];  // [rows, width]
  int64_t terms;
  void* output;  // [rows, width]
  int64_t rows, width;
  int64_t max_threads;
  DType dtype;
};

struct CastParams {
  const void* input;  // [rows, width]
  void* output;       // likewise
  int64_t rows, width;
  int64_t max_threads;
  DType to;  // kFloat32: the input is bfloat16; kBFloat16: it is float32
};

struct RotateParams {
  const void* input;    // [tokens, heads, width]
  const float* cosine;  // [tokens, width / 2]
  const float* sine;    // [tokens, width / 2]
  void* output;         // as input
  int64_t tokens, heads, width;
  int64_t max_threads;
  DType dtype;
};

constexpr int64_t kStatLanes = 8;

}  // namespace ms_nsa
