// SPDX-License-Identifier: Apache-2.0
#include "timing_table.h"

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <sstream>
#include <stdexcept>

namespace twin {

namespace {

struct Figure {
  const char* name;
  double TimingTable::* member;
};

#define FIGURE(name) {#name, &TimingTable::name}
constexpr Figure kFigures[] = {
    FIGURE(clock_ghz),     FIGURE(l1_to_l0a),       FIGURE(l1_to_l0b),      FIGURE(l1_load_start),
    FIGURE(load3d_start),  FIGURE(l1_to_bt),        FIGURE(l1_to_bt_start), FIGURE(fix_elements),
    FIGURE(fix_start),     FIGURE(mmad_start),      FIGURE(vector_start),   FIGURE(hbm_gbs),
    FIGURE(hbm_nd2nz_gbs), FIGURE(aiv_port_gbs),    FIGURE(aic_port_gbs),   FIGURE(l2_gbs),
    FIGURE(l2_bytes),      FIGURE(dma_instruction), FIGURE(ub_row),         FIGURE(dma_unit),
    FIGURE(nd_cap_gbs),    FIGURE(scalar),          FIGURE(cross_flag),     FIGURE(start_us),
    FIGURE(start_full_us)};
#undef FIGURE

struct Point {
  double x, y;
};

template <size_t n>
double Between(const Point (&points)[n], double x) {
  if (x <= points[0].x) return points[0].y;
  for (size_t i = 1; i < n; ++i) {
    if (x > points[i].x) continue;
    const Point &a = points[i - 1], &b = points[i];
    return a.y + (b.y - a.y) * (x - a.x) / (b.x - a.x);
  }
  return points[n - 1].y;
}

// GB/s of one AIC that reads rows (by their bytes) at any stride, sampled from catlass' fit; at 512 bytes the
// measured 302 MB in 422.5 us (data_copy, N = 12287) instead of the fit's 25.
constexpr Point kRowRate[] = {{2, 0.4},    {32, 4.6},    {64, 8.1},    {96, 10.9},  {128, 13.1},
                              {192, 16.2}, {256, 18.1},  {384, 21.3},  {512, 29.8}, {768, 31.2},
                              {896, 32.6}, {1024, 39.1}, {1152, 67.6}, {1280, 80}};
// Share of that rate with few rows in a copy: rows of whole 512 bytes, and other rows (catlass).
constexpr Point kFewLongRows[] = {{1, 0.13}, {2, 0.23}, {4, 0.42}, {8, 0.71}, {12, 0.90}, {16, 1}};
constexpr Point kFewRows[] = {{1, 0.08}, {4, 0.21}, {8, 0.38}, {16, 0.68}, {24, 0.95}, {32, 1}};
// The stride that rows must be a multiple of, and how much faster they then come (catlass).
constexpr struct {
  uint64_t unit;
  double gain;
} kStrideGain[] = {{512, 100.0 / 30}, {256, 80.0 / 30}, {128, 50.0 / 30}, {32, 40.0 / 30}};
constexpr uint64_t kFarStride = 131072;  // 65536 16-bit elements: 1 GB/s (catlass)

// GM -> L1 in rows (ND2NZ), all cores busy.
double RowRate(const TimingTable& t, const Cost& c) {
  if (c.row_stride >= kFarStride) return 1;
  double rate = Between(kRowRate, c.burst_bytes);
  // Packed short rows come as one piece.
  if (c.row_stride == c.burst_bytes && c.burst_bytes <= 256 && c.burst_bytes % 32 == 0) rate = 60;
  for (const auto& s : kStrideGain) {
    if (c.row_stride % s.unit) continue;
    rate *= s.gain;
    break;
  }
  rate = std::min(rate, t.nd_cap_gbs);
  return rate * (c.burst_bytes % 512 ? Between(kFewRows, c.bursts) : Between(kFewLongRows, c.bursts));
}

bool ToCube(Path p) {
  return p == Path::kGmToL1 || p == Path::kGmToL0;
}

}  // namespace

void SetFigures(TimingTable& table, const std::string& changes) {
  std::istringstream in(changes);
  for (std::string change; std::getline(in, change, ',');) {
    const size_t equal = change.find('=');
    const std::string name = change.substr(0, equal);
    const auto found = std::find_if(std::begin(kFigures), std::end(kFigures),
                                    [&](const Figure& f) { return name == f.name; });
    if (found == std::end(kFigures) || equal == std::string::npos) {
      throw std::runtime_error("twin: the time model has no figure " + change);
    }
    table.*found->member = std::atof(change.c_str() + equal + 1);
  }
}

std::string FiguresJson(const TimingTable& table) {
  std::ostringstream out;
  out.precision(10);
  for (const Figure& f : kFigures) {
    out << (f.name == kFigures[0].name ? "{\"" : ",\"") << f.name << "\":" << table.*f.member;
  }
  out << "}";
  return out.str();
}

double FixedCycles(const TimingTable& t, const Cost& c) {
  const double bytes = static_cast<double>(c.bytes);
  switch (c.path) {
    case Path::kL1ToL0a:
      return bytes / t.l1_to_l0a + t.l1_load_start;
    case Path::kL1ToL0b:
    case Path::kL1Fill:
    case Path::kL0Fill:
      return bytes / t.l1_to_l0b + t.l1_load_start;
    case Path::kL1Load3dA:
      return bytes / t.l1_to_l0a + t.load3d_start;
    case Path::kL1Load3dB:
      return bytes / t.l1_to_l0b + t.load3d_start;
    case Path::kL1ToBt:
    case Path::kL1ToFb:
      return bytes / t.l1_to_bt + t.l1_to_bt_start;
    case Path::kL0cToL1:
      return static_cast<double>(c.work) / t.fix_elements + t.fix_start;
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

double AloneCycles(const TimingTable& t, const Cost& c, double missed) {
  const double bytes = static_cast<double>(c.bytes);
  const bool cube = ToCube(c.path) || c.path == Path::kL0cToGm || c.path == Path::kL1ToGm;
  double cycles = bytes / BytesPerCycle(t, cube ? t.aic_port_gbs : t.aiv_port_gbs);
  if (c.path == Path::kL0cToGm) {
    return std::max(cycles, static_cast<double>(c.work) / t.fix_elements + t.fix_start);
  }
  if (ToCube(c.path) && c.bursts > 1) {
    const double rate = RowRate(t, c);
    // Below the cap the rows themselves are the limit, wherever they come from.
    const double share = rate < t.nd_cap_gbs ? 1 : missed;
    cycles = std::max(cycles, share * bytes / BytesPerCycle(t, rate));
  } else if (!cube && c.bursts > 1) {
    cycles = std::max(cycles, c.bursts * t.ub_row);
  }
  return std::max(cycles, t.dma_instruction);
}

double HbmBytes(const TimingTable& t, const Cost& c, double missed) {
  double bytes = static_cast<double>(c.bytes);
  if (ToCube(c.path)) return missed * bytes * t.hbm_gbs / t.hbm_nd2nz_gbs;
  const bool rows = c.bursts > 1 && c.row_stride != c.burst_bytes;
  if (rows && c.row_stride % static_cast<uint64_t>(t.dma_unit)) bytes += c.bursts * t.dma_unit;
  return missed * bytes;
}

}  // namespace twin
