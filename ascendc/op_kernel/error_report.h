// Debugging: leaves the first broken rule at the start of the user workspace.
#pragma once

#include "attention_workspace.h"
#include "error_finder.h"
#include "kernel_operator.h"

namespace ms_nsa {

// What the kernel itself may use of the workspace.
__aicore__ inline GM_ADDR BehindReport(const AttentionParams& params, GM_ADDR workspace) {
  return AscendC::GetUserWorkspace(workspace) + ReportBytes(params);
}

// Slow: one AIV looks at everything, by scalar loads.
template <class Source, class Addresses>
__aicore__ inline void ReportFirstError(const AttentionParams& params, const Addresses& gm,
                                        GM_ADDR workspace) {
  if (!params.debug || AscendC::GetBlockIdx() != 0) return;
  const Source source(params, gm);
  const FirstError found = ErrorFinder<Source>(params, source).Find();
  const int64_t fields[] = {static_cast<int64_t>(found.rule),
                            found.of_keys,
                            found.where[0],
                            found.where[1],
                            found.where[2],
                            found.value,
                            found.bound,
                            0};
  AscendC::GlobalTensor<int64_t> report;
  report.SetGlobalBuffer(reinterpret_cast<__gm__ int64_t*>(AscendC::GetUserWorkspace(workspace)));
  for (int32_t i = 0; i < 8; ++i) report.SetValue(i, fields[i]);
  AscendC::DataCacheCleanAndInvalid<int64_t, AscendC::CacheLine::SINGLE_CACHE_LINE,
                                    AscendC::DcciDst::CACHELINE_OUT>(report);
}

}  // namespace ms_nsa
