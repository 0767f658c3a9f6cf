// SPDX-License-Identifier: Apache-2.0
// Entry of MsNsaCompress: one row for every window of packed sequences.
// clang-format off: first, since aicore.h asks whether it has defined __aicore__
#include "kernel_operator.h"
// clang-format on

#include "compress_error_finder.h"
#include "compress_source.h"
#include "compress_vector.h"
#include "error_report.h"

extern "C" __global__ __aicore__ void ms_nsa_compress(GM_ADDR input, GM_ADDR weight, GM_ADDR actual_seq_len,
                                                      GM_ADDR row_template, GM_ADDR output,
                                                      GM_ADDR first_error, GM_ADDR workspace,
                                                      GM_ADDR tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  REGISTER_TILING_DEFAULT(ms_nsa::CompressParams);
  GET_TILING_DATA(params, tiling);
  const int64_t core = AscendC::GetBlockIdx(), cores = AscendC::GetBlockNum();
  const ms_nsa::PackedLengths lengths(actual_seq_len);
  const ms_nsa::PackedPart<DTYPE_INPUT> rows(params, input);
  if (ms_nsa::LooksForErrors(params))
    ms_nsa::LeaveFirstError(ms_nsa::FindInRawSequences(params, lengths), first_error);
  AscendC::TPipe pipe;
  ms_nsa::WindowWalk<ms_nsa::PackedLengths> walk(params, lengths, core, cores);
  ms_nsa::CompressVector<DTYPE_INPUT, ms_nsa::PackedPart<DTYPE_INPUT>> vector(params, rows, pipe);
  vector.Init(weight, output);
  vector.Run(walk);
  const int64_t spare = params.windows - walk.windows();
  vector.Clear(walk.windows() + ms_nsa::Quota(spare, core, cores),
               walk.windows() + ms_nsa::Quota(spare, core + 1, cores));
}
