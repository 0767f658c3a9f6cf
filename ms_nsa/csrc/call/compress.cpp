// SPDX-License-Identifier: Apache-2.0
// Compression of packed sequences, its gradient and compression for decoding: checks values, fills the
// parameters and runs the kernel.
#include <cstring>
#include <vector>

#include "../dispatch.h"
#include "check_values.h"
#include "decode_lengths.h"
#include "errors.h"
#include "op_info.h"
#include "operator.h"
#include "run_kernel.h"
#include "windows.h"

namespace ms_nsa {
namespace {

// For the forward and the gradient; checks the lengths, and that `rows` rows hold all windows.
template <class Operator>
int64_t Fill(const Operator& op, const char* rows_name, int64_t rows, CompressInputs* out) {
  out->input = op.input.data;
  out->weight = op.weight.template given_as<void>();
  out->actual_seq_len =
      op.actual_seq_len.absent() ? &op.T2 : op.actual_seq_len.template as<int64_t>();  // one sequence
  out->batch = op.B, out->t2 = op.T2, out->n2 = op.N2, out->d = op.D;
  out->compress_block_size = op.compress_block_size;
  out->compress_stride = op.compress_stride;
  out->dtype = op.dtype();
  CheckPrefixes(Operator::kName, "actual_seq_len", out->actual_seq_len, op.B, "T2", op.T2);
  const int64_t windows =
      CompressedEnds(out->actual_seq_len, op.B, op.compress_block_size, op.compress_stride).back();
  if (rows < windows) Fail(Operator::kName, rows_name, Join("have at least ", windows, " rows"), Join(rows));
  return windows;
}

// The pages of the windows that end within the new rows, and slots for them.
void CheckNewWindows(const NsaCompressInfer& op, const PagedCompressParams& p) {
  for (int64_t b = 0; b < p.batch; ++b) {
    const int64_t after = WindowCount(p.kv_len[b], op.compress_block_size, op.compress_stride);
    const int64_t before = WindowCount(p.kv_len[b] - p.q_len[b], op.compress_block_size, op.compress_stride);
    if (after - before > p.slots)
      Fail(op.kName, "slot_mapping",
           Join("have a slot for every new window: ", after - before, " at sequence ", b), Join(p.slots));
    for (int64_t window = before; window < after; ++window) {
      if (p.slot_mapping[b * p.slots + window - before] < 0) continue;
      const int64_t first = window * op.compress_stride;
      CheckPages(op.kName, p.block_table, p.max_blocks, b, first, first + op.compress_block_size - 1,
                 p.page_block_size, p.num_blocks, "where rows are compressed");
    }
  }
}

}  // namespace

void Run(NsaCompress& op) {
  CompressParams params{};
  Fill(op, op.row_template.absent() ? "input" : "row_template", op.R, &params.in);
  params.rows = op.R;
  params.output = op.output;
  RunKernel(op, Kernels().compress, params, params.in.max_threads);
}

void Run(NsaCompressGrad& op) {
  CompressGradParams params{};
  Fill(op, "grad", op.R, &params.in);
  params.grad = op.grad.data;
  params.input_grad = op.input_grad;
  params.weight_grad = op.weight.absent() ? nullptr : op.weight_grad;
  if (op.weight.absent()) {
    const size_t bytes = op.dtype() == DType::kFloat32 ? 4 : 2;
    std::memset(op.weight_grad, 0, static_cast<size_t>(op.compress_block_size * op.N2) * bytes);
  }
  RunKernel(op, Kernels().compress_grad, params, params.in.max_threads);
}

void Run(NsaCompressInfer& op) {
  const int64_t* lens = op.actual_seq_len.as<int64_t>();
  CheckLengths(op.kName, "actual_seq_len", lens, op.B, "max_blocks * page_block_size",
               op.max_blocks * op.page_block_size);
  const int64_t* given = op.actual_seq_qlen.given_as<int64_t>();
  std::vector<int64_t> q_len(op.B, 1);
  if (given != nullptr) q_len.assign(given, given + op.B);
  CheckLengths(op.kName, "actual_seq_qlen", q_len.data(), op.B, "2^31 - 1", INT32_MAX);
  PagedCompressParams params{};
  params.input = op.input.data;
  params.weight = op.weight.given_as<void>();
  params.slot_mapping = op.slot_mapping.as<int32_t>();
  params.block_table = op.block_table.as<int32_t>();
  params.kv_len = lens;
  params.q_len = q_len.data();
  params.batch = op.B, params.slots = op.K, params.n2 = op.N2, params.d = op.D;
  params.num_blocks = op.num_blocks, params.page_block_size = op.page_block_size;
  params.max_blocks = op.max_blocks;
  params.compress_block_size = op.compress_block_size, params.compress_stride = op.compress_stride;
  params.heads_first = op.cache_layout == "BNSD";
  params.dtype = op.dtype();
  params.rows = op.rows;
  params.written_slots = static_cast<int32_t*>(op.slots);
  CheckNewWindows(op, params);
  RunKernel(op, Kernels().paged_compress, params, params.max_threads);
}

}  // namespace ms_nsa
