#include "timing_table.h"

#include <algorithm>

namespace twin {

namespace {

double BytesPerCycle(const TimingTable& t, double gbs) {
  return gbs / t.clock_ghz;
}

double GmCycles(const TimingTable& t, const Cost& c, int sharers) {
  const bool ub = c.path == Path::kGmToUb || c.path == Path::kUbToGm;
  const double total = ub ? t.hbm_gbs : t.hbm_nd2nz_gbs;
  const double rate = std::min(ub ? t.aiv_port_gbs : t.aic_port_gbs, total / std::max(sharers, 1));
  double cycles = static_cast<double>(c.bytes) / BytesPerCycle(t, rate);
  const bool strided = c.bursts > 1 && c.row_stride != c.burst_bytes;
  if (strided && c.row_stride % static_cast<uint64_t>(t.stride_unit) != 0) {
    cycles *= ub ? t.ub_stride_factor : t.l1_stride_factor;
  } else if (strided && c.burst_bytes <= t.short_burst_bytes) {
    cycles *= ub ? t.ub_short_burst_factor : t.l1_short_burst_factor;
  }
  return std::max(cycles, t.dma_instruction);
}

}  // namespace

double InstructionCycles(const TimingTable& t, const Cost& c, int sharers) {
  const double bytes = static_cast<double>(c.bytes);
  switch (c.path) {
    case Path::kGmToUb:
    case Path::kGmToL1:
    case Path::kGmToL0:
    case Path::kUbToGm:
      return GmCycles(t, c, sharers);
    case Path::kL1ToL0a:
      return bytes / t.l1_to_l0a + t.l1_load_start;
    case Path::kL1ToL0b:
      return bytes / t.l1_to_l0b + t.l1_load_start;
    case Path::kL1Load3d:
      return bytes / t.l1_to_l0b + t.load3d_start;
    case Path::kL1ToBt:
    case Path::kL1ToFb:
      return bytes / t.l1_to_bt + t.l1_to_bt_start;
    case Path::kL1Fill:
    case Path::kL0Fill:
      return bytes / t.l1_to_l0b + t.l1_load_start;
    case Path::kL0cToL1:
      return static_cast<double>(c.work) / t.fix_elements + t.fix_start;
    case Path::kL0cToGm: {
      const double share = std::min(t.aic_port_gbs, t.hbm_nd2nz_gbs / std::max(sharers, 1));
      return std::max(static_cast<double>(c.work) / t.fix_elements + t.fix_start,
                      bytes / BytesPerCycle(t, share));
    }
    case Path::kCube:
      return static_cast<double>(c.work) + t.mmad_start;
    case Path::kUbToUb:
    case Path::kVector:
      return static_cast<double>(c.repeats) * c.repeat_cycles + t.vector_start;
    case Path::kScalar:
      return t.scalar;
    default:
      return 0;
  }
}

}  // namespace twin
