// SPDX-License-Identifier: Apache-2.0
// Entry of MsNsaCompressInfer: rows for the windows that end within the newest rows of paged sequences.
// clang-format off: first, since aicore.h asks whether it has defined __aicore__
#include "kernel_operator.h"
// clang-format on

#include "compress_entries.h"
#include "compress_error_finder.h"
#include "error_report.h"

extern "C" __global__ __aicore__ void ms_nsa_compress_infer(GM_ADDR input, GM_ADDR weight,
                                                            GM_ADDR slot_mapping, GM_ADDR block_table,
                                                            GM_ADDR actual_seq_len, GM_ADDR actual_seq_qlen,
                                                            GM_ADDR rows, GM_ADDR slots, GM_ADDR first_error,
                                                            GM_ADDR workspace, GM_ADDR tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  REGISTER_TILING_DEFAULT(ms_nsa::CompressParams);
  GET_TILING_DATA(params, tiling);
  using Source = ms_nsa::PagedPart<DTYPE_INPUT>;
  const Source source(params, input, slot_mapping, block_table, actual_seq_len, actual_seq_qlen);
  const int64_t core = AscendC::GetBlockIdx(), cores = AscendC::GetBlockNum();
  if (ms_nsa::LooksForErrors(params)) {
    const auto found = ms_nsa::PagedCompressErrorFinder<Source>(params, source).Find();
    ms_nsa::LeaveFirstError(found, first_error);
  }
  AscendC::TPipe pipe;
  ms_nsa::PagedWindowWalk<Source> walk(params, source, core, cores);
  ms_nsa::CompressEntries<DTYPE_INPUT>(params, source, rows, slots, pipe).Run(walk);
  ms_nsa::CompressVector<DTYPE_INPUT, Source> vector(params, source, pipe);
  vector.Init(weight, rows);
  vector.Run(walk);
}
