#include "select_tiling.h"

namespace ms_nsa {

Tiling TileSelect(const SelectShapes& s, int32_t aic_cores) {
  Tiling tiling{};
  tiling.error = CheckAttention("MsNsaSelectAttention", s.attention, aic_cores);
  if (!tiling.error.empty()) return tiling;
  AttentionParams& p = tiling.params;
  p.batch = s.batch;
  p.tokens = s.t1;
  p.kv_rows = s.t2;
  p.has_q_lens = s.has_q_lens;
  p.has_kv_lens = s.has_kv_lens;
  FillAttention(s.attention, p);
  PlanCores(s.t2, aic_cores, tiling);
  return tiling;
}

}  // namespace ms_nsa
