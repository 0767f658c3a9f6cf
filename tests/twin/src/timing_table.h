// SPDX-License-Identifier: Apache-2.0
// Every figure of the time model with its source: perf tests and best-practice samples of asc-devkit for
// dav-2201, and the bandwidth model of catlass (select_kernel_b16.h, GetBandwidth). Cycles are core cycles.
#pragma once

#include <string>

#include "twin/abi.h"

namespace twin {

struct TimingTable {
  double clock_ghz = 1.85;  // matmul_basic_api_high_performance/README.md; the perf tests run at 1.80

  // tests/perf/load_data_perf/README.md: bytes a cycle, start cycles of an instruction.
  double l1_to_l0a = 256, l1_to_l0b = 128, l1_load_start = 28;
  double load3d_start = 50;  // published rates 32 to 256 (L0A) and 28.4 to 128 (L0B): taken at the top
  double l1_to_bt = 32, l1_to_bt_start = 20;

  // tests/perf/fixpipe_perf/README.md: output elements a cycle, start cycles.
  double fix_elements = 64, fix_start = 20;

  // UnitFlag.md: 128x128x512 in 8 Mmads takes 2172 cycles, 2048 of them arithmetic; 128x256x512 4209 to 4225.
  double mmad_start = 16;

  // add_high_performance/README.md: one repeat a cycle. What an instruction costs beyond its repeats is not
  // published: a parameter, 10 to 20.
  double vector_start = 14;

  // data_copy/README.md, 302 MB on all cores. HBM together: GM->UB 202.7 us = 1490 GB/s, GM->L1 ND2NZ
  // 214.5 us = 1408 GB/s. L2: the same data four times, quarter by quarter: 354.6 us on AIV, 151.9 us of them
  // for 906 MB of hits = 124 GB/s a core; 397.8 us on AIC, 183.3 us for the hits = 206 GB/s a core.
  double hbm_gbs = 1490, hbm_nd2nz_gbs = 1408;
  double aiv_port_gbs = 124, aic_port_gbs = 206;
  double l2_gbs = 5200;               // the same page, peak
  double l2_bytes = 192.0 * 1048576;  // architecture page
  // Single copies of 128 bytes: 548.2 us on 48 AIV, 49152 each: 20.6 cycles. Rows of 128 bytes in tiles of
  // 64: 220.8 us, 49152 rows each: 8.3 cycles.
  double dma_instruction = 20.6, ub_row = 8.3;
  // Rows off the 512-byte grid read one more unit each: 2048-byte rows 259.0 us = x1.28 (modelled x1.25).
  double dma_unit = 512;
  // GM->L1 in rows: cap of catlass' model, where the port is not the limit.
  double nd_cap_gbs = 80;

  // Mask, flag and scalar instructions: about one cycle (mask reuse page).
  double scalar = 1;
  double cross_flag = 0;  // not published
  // catlass: a kernel takes 1 + 7 * blocks / cores us to start. Reported apart from the cycles.
  double start_us = 1, start_full_us = 7;
};

// "name=value,...": replaces figures; an unknown name throws.
void SetFigures(TimingTable& table, const std::string& changes);
std::string FiguresJson(const TimingTable& table);

inline double BytesPerCycle(const TimingTable& t, double gbs) {
  return gbs / t.clock_ghz;
}

constexpr bool UsesGm(Path p) {
  return p == Path::kGmToUb || p == Path::kGmToL1 || p == Path::kGmToL0 || p == Path::kUbToGm ||
         p == Path::kL0cToGm || p == Path::kL1ToGm;
}

// Cycles of an instruction that no other core can slow down.
double FixedCycles(const TimingTable& table, const Cost& cost);
// The least cycles of a GM transfer with all memory to itself, of which `missed` (0 to 1) is not in L2.
double AloneCycles(const TimingTable& table, const Cost& cost, double missed);
// What the transfer takes of HBM's bytes, in units of the GM->UB rate.
double HbmBytes(const TimingTable& table, const Cost& cost, double missed);

}  // namespace twin
