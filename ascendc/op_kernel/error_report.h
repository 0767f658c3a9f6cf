// SPDX-License-Identifier: Apache-2.0
// Debugging: writes the first broken rule to the output first_error.
#pragma once

#include "error_finder.h"
#include "kernel_operator.h"

namespace ms_nsa {

// Slow: one AIV looks at everything, by scalar loads. Without the flag the output stays as it was, which
// costs nothing: only who set the flag reads it.
template <class Params>
__aicore__ inline bool LooksForErrors(const Params& params) {
  return params.debug && AscendC::GetBlockIdx() == 0;
}

__aicore__ inline void LeaveFirstError(const FirstError& found, GM_ADDR first_error) {
  const int64_t fields[] = {static_cast<int64_t>(found.rule),
                            found.of_keys,
                            found.where[0],
                            found.where[1],
                            found.where[2],
                            found.value,
                            found.bound,
                            0};
  AscendC::GlobalTensor<int64_t> report;
  report.SetGlobalBuffer(reinterpret_cast<__gm__ int64_t*>(first_error));
  for (int32_t i = 0; i < 8; ++i) report.SetValue(i, fields[i]);
  AscendC::DataCacheCleanAndInvalid<int64_t, AscendC::CacheLine::SINGLE_CACHE_LINE,
                                    AscendC::DcciDst::CACHELINE_OUT>(report);
}

template <class Source, class Addresses>
__aicore__ inline void ReportFirstError(const AttentionParams& params, const Addresses& gm,
                                        GM_ADDR first_error) {
  if (!LooksForErrors(params)) return;
  const Source source(params, gm);
  LeaveFirstError(ErrorFinder<Source>(params, source).Find(), first_error);
}

}  // namespace ms_nsa
