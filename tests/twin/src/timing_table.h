// Every figure of the time model, in core cycles, each with its source. Sections are those of the hardware
// notes: perf tests and best-practice samples of asc-devkit for dav-2201, and catlass' bandwidth model.
#pragma once

#include "twin/abi.h"

namespace twin {

struct TimingTable {
  double clock_ghz = 1.85;  // matmul_basic_api_high_performance/README.md (the perf tests run at 1.80)

  // tests/perf/load_data_perf/README.md: bytes per cycle and start cycles.
  double l1_to_l0a = 256, l1_to_l0b = 128, l1_load_start = 28;
  double l1_to_bt = 32, l1_to_bt_start = 20;
  double load3d_start = 50;

  // tests/perf/fixpipe_perf/README.md: output elements per cycle, start cycles.
  double fix_elements = 64, fix_start = 20;

  // UnitFlag.md: 128x128x512 in 8 Mmads takes 2172 cycles, 2048 of them arithmetic; 128x256x512 4209 to 4225.
  double mmad_start = 16;

  // add_high_performance/README.md: one repeat a cycle. The start of an instruction is not published: a
  // parameter.
  double vector_start = 14;

  // 04_memory_access/data_copy/README.md, 302 MB: GM->UB on 48 AIV 202.7 us = 31.0 GB/s each,
  // GM->L1 ND2NZ on 24 AIC 214.5 us = 58.7 GB/s each; both are limited by HBM (1.49 and 1.41 TB/s together).
  double hbm_gbs = 1490, hbm_nd2nz_gbs = 1410;
  double aiv_port_gbs = 31.0;  // catlass GetBandwidth: AIV 30
  double aic_port_gbs = 80.0;  // catlass GetBandwidth: cap of an AIC
  double l2_gbs = 5000;        // L2-Cache split page: 5 to 5.2 TB/s
  // Single 128-byte copies: 548 us for 302 MB on 48 AIV = 49.1 k copies each: 20.6 cycles each at 1.85 GHz.
  double dma_instruction = 20.6;
  // 128-byte bursts in 64-row tiles: 220.8 us against 202.7 (UB).
  double ub_short_burst_factor = 220.8 / 202.7;
  // 64x64 b16 ND2NZ tiles (128-byte rows): 283.5 us against 214.5.
  double l1_short_burst_factor = 283.5 / 214.5;
  double short_burst_bytes = 128;
  // Row stride no multiple of 512 bytes.
  double ub_stride_factor = 1.28, l1_stride_factor = 1.97;
  double stride_unit = 512;

  // Mask, flag and scalar instructions: about one cycle (mask reuse page); scalar GM access is a cache miss
  // at worst.
  double scalar = 1;
  double cross_flag = 0;  // not published
};

// Cycles of one instruction. sharers: cores of the launch that use the same GM path.
double InstructionCycles(const TimingTable& table, const Cost& cost, int sharers);

}  // namespace twin
