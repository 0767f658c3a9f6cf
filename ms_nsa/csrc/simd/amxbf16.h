// SPDX-License-Identifier: Apache-2.0
// Dot policy of AMX-BF16: matrix products by the processor's registers of 16 rows of 64 bytes, everything
// else by the vectors of AVX512-BF16.
#pragma once

#include "avx512bf16.h"

namespace ms_nsa {
namespace {

// Written as assembly: GCC's intrinsics do not say that they read and write memory.
struct AmxBf16Dot : Avx512Bf16Dot {
  static constexpr bool kMatrixTiles = true;
  static constexpr int kMatrixRows = 16;
  static constexpr int kMatrixDepth = 32;  // elements of an operand's row

  // A thread's tile registers exist while one of these does: all of them full tiles.
  class Registers {
   public:
    Registers() {
      alignas(64) uint8_t config[64] = {1};  // palette 1; bytes 16 to 31: bytes a row; 48 to 55: rows
      for (int tile = 0; tile < 8; ++tile) {
        config[16 + 2 * tile] = 2 * kMatrixDepth;
        config[48 + tile] = kMatrixRows;
      }
      __asm__ volatile("ldtilecfg %0" : : "m"(config));
    }
    ~Registers() { __asm__ volatile("tilerelease"); }
    Registers(const Registers&) = delete;
    Registers& operator=(const Registers&) = delete;
  };

  // Rows of 16 floats or 32 operands, `bytes` from one to the next.
  template <int kTile>
  static void ZeroTile() {
    __asm__ volatile("tilezero %%tmm%c0" : : "i"(kTile));
  }
  template <int kTile>
  static void LoadTile(const void* p, int64_t bytes) {
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(p), "r"(bytes), "i"(kTile) : "memory");
  }
  template <int kTile>
  static void StoreTile(void* p, int64_t bytes) {
    __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(p), "r"(bytes), "i"(kTile) : "memory");
  }
  // Tile kC += kA * kB. A row of kA holds 32 depth steps; row i of kB what LoadB reads of steps 2 i, 2 i + 1.
  template <int kC, int kA, int kB>
  static void MulAddTiles() {
    __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kC), "i"(kA), "i"(kB));
  }
};

}  // namespace
}  // namespace ms_nsa
