// SPDX-License-Identifier: Apache-2.0
// Entry of MsNsaCompressGrad: the gradients of MsNsaCompress's input and weight.
// clang-format off: first, since aicore.h asks whether it has defined __aicore__
#include "kernel_operator.h"
// clang-format on

#include "compress_error_finder.h"
#include "compress_grad_vector.h"
#include "error_report.h"
#include "weight_grad.h"

namespace ms_nsa {

// Rows of no window: those behind a sequence's last one, and those behind the last sequence.
template <class Vector>
__aicore__ inline void ClearOthers(const CompressParams& params, const PackedLengths& lengths, Vector& vector,
                                   int64_t core, int64_t cores) {
  RawSequences<PackedLengths> sequences(params, lengths);
  int64_t number = 0, end = 0;
  for (RawSequence sequence{}; sequences.Next(sequence); ++number) {
    const int64_t covered = SlicesOfWindows(params, sequence.windows) * params.slice_rows;
    end = sequence.row + sequence.rows;
    if (number % cores == core) vector.Clear(sequence.row + covered, end);
  }
  const int64_t rest = params.rows - end;
  vector.Clear(end + Quota(rest, core, cores), end + Quota(rest, core + 1, cores));
}

}  // namespace ms_nsa

extern "C" __global__ __aicore__ void ms_nsa_compress_grad(GM_ADDR grad, GM_ADDR input, GM_ADDR weight,
                                                           GM_ADDR actual_seq_len, GM_ADDR input_grad,
                                                           GM_ADDR weight_grad, GM_ADDR first_error,
                                                           GM_ADDR workspace, GM_ADDR tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIV_1_0);  // for SyncAll
  REGISTER_TILING_DEFAULT(ms_nsa::CompressParams);
  GET_TILING_DATA(params, tiling);
  using Vector = ms_nsa::CompressGradVector<DTYPE_INPUT>;
  using Weight = ms_nsa::WeightGrad<DTYPE_INPUT>;
  const int64_t core = AscendC::GetBlockIdx(), cores = AscendC::GetBlockNum();
  const ms_nsa::PackedLengths lengths(actual_seq_len);
  GM_ADDR sums = AscendC::GetUserWorkspace(workspace);
  if (ms_nsa::LooksForErrors(params))
    ms_nsa::LeaveFirstError(ms_nsa::FindInRawSequences(params, lengths), first_error);
  AscendC::TPipe pipe;
  ms_nsa::UnifiedBuffer ub;
  ub.Init(pipe, ms_nsa::Max(Vector::kInBytes, Weight::kInBytes),
          ms_nsa::Max(Vector::kOutBytes, Weight::kOutBytes));
  ms_nsa::CompressGradWalk<ms_nsa::PackedLengths> walk(params, lengths, core, cores);
  Vector vector(params, ub, grad, input);
  vector.Init(weight, input_grad, sums);
  vector.Run(walk);
  ms_nsa::ClearOthers(params, lengths, vector, core, cores);
  AscendC::SyncAll();
  Weight(params, ub, sums, weight_grad).Run(params.has_weight ? walk.pieces() : 0, core, cores);
}
