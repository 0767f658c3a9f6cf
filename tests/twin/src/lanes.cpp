// SPDX-License-Identifier: Apache-2.0
#include "twin/lanes.h"

#include "core.h"

namespace twin {

uint64_t Lanes::Elements() const {
  if (counter) return active;
  const uint64_t a =
      prefix ? active : static_cast<uint64_t>(__builtin_popcountll(low) + __builtin_popcountll(high));
  return a * Repeats();
}

Lanes CountLanes(int64_t count, uint32_t size) {
  // The level-2 form sets counter mode and the mask itself and leaves normal mode with a full mask.
  MaskState() = VectorMask{};
  Lanes l;
  l.counter = true;
  l.active = count < 0 ? 0 : static_cast<uint64_t>(count);
  l.explicit_mask = true;
  l.width = 256 / size;
  return l;
}

namespace {

Lanes FromRegister(int64_t repeat, uint32_t width) {
  const VectorMask& m = MaskState();
  Lanes l;
  l.width = width;
  l.repeat = repeat;
  l.counter = m.counter;
  if (m.counter) {
    l.active = m.low;
    return l;
  }
  l.low = m.low;
  l.high = width > 64 ? m.high : 0;
  const uint64_t full_low = width >= 64 ? ~uint64_t{0} : (uint64_t{1} << width) - 1;
  l.prefix = (l.low & full_low) == full_low && (width <= 64 || l.high == ~uint64_t{0});
  l.active =
      l.prefix ? width
               : static_cast<uint64_t>(__builtin_popcountll(l.low & full_low) + __builtin_popcountll(l.high));
  return l;
}

}  // namespace

Lanes MaskLanes(uint64_t mask, int64_t repeat, uint32_t size, bool set_mask) {
  const uint32_t width = 256 / size;
  if (!set_mask) return FromRegister(repeat, width);
  VectorMask& m = MaskState();
  Lanes l;
  l.width = width;
  l.repeat = repeat;
  l.counter = m.counter;
  l.active = mask;
  l.explicit_mask = true;
  if (m.counter) {
    m.low = mask;
    m.high = 0;
  } else {
    m.low = mask >= 64 ? ~uint64_t{0} : (uint64_t{1} << mask) - 1;
    m.high = mask <= 64 ? 0 : mask >= 128 ? ~uint64_t{0} : (uint64_t{1} << (mask - 64)) - 1;
  }
  return l;
}

Lanes MaskLanes(const uint64_t mask[], int64_t repeat, uint32_t size, bool set_mask) {
  const uint32_t width = 256 / size;
  if (set_mask) {
    VectorMask& m = MaskState();
    m.low = mask[0];
    m.high = width > 64 ? mask[1] : 0;
  }
  Lanes l = FromRegister(repeat, width);
  l.explicit_mask = set_mask;
  return l;
}

void CheckLanes(Instr& in, const Lanes& l) {
  // A count form sets mode and mask and takes both back; a mask form sets the mask.
  if (l.explicit_mask) in.SetsMasks(l.counter ? 4 : 1);
  if (!l.counter) {
    in.Require(l.repeat >= 0 && l.repeat <= 255, Rule::kRepeat, "repeatTime must lie in [0, 255], got %lld",
               static_cast<long long>(l.repeat));
    in.Require(!l.prefix || l.active <= l.width, Rule::kMask, "mask must be at most %u elements, got %llu",
               l.width, static_cast<unsigned long long>(l.active));
  }
  in.Require(l.active > 0, Rule::kMask, "mask or count must be at least 1 (0 does nothing)");
}

namespace {

void TouchRun(Instr& in, Access kind, const LocalRef& t, const char* operand, uint32_t size, uint64_t base,
              uint32_t block_bytes, uint32_t first, uint32_t end) {
  const uint32_t per_block = 32 / size;
  for (uint32_t lane = first; lane < end;) {
    const uint32_t block = lane / per_block, stop = std::min(end, (block + 1) * per_block);
    in.Touch(kind, t, operand, base + uint64_t{block} * block_bytes + uint64_t{lane % per_block} * size,
             uint64_t{stop - lane} * size);
    lane = stop;
  }
}

}  // namespace

void TouchLanes(Instr& in, Access kind, const LocalRef& t, const char* operand, uint32_t size,
                const Strides& s, const Lanes& l) {
  if (!Fits(in, "block stride", s.block) || !Fits(in, "repeat stride", s.repeat) || !in.ok()) return;
  const uint32_t block_bytes = static_cast<uint16_t>(s.block) * 32u;
  const uint64_t repeat_bytes = uint64_t{static_cast<uint8_t>(s.repeat)} * s.unit;
  const uint32_t repeats = l.Repeats();
  if (l.prefix && block_bytes == 32 && repeat_bytes == uint64_t{l.width} * size &&
      (l.counter || l.active == l.width)) {
    in.Touch(kind, t, operand, 0, l.Elements() * size);
    return;
  }
  for (uint32_t r = 0; r < repeats && in.ok(); ++r) {
    const uint64_t base = r * repeat_bytes;
    if (l.prefix) {
      TouchRun(in, kind, t, operand, size, base, block_bytes, 0, l.Front(r));
      continue;
    }
    for (uint32_t lane = 0; lane < l.width;) {
      if (!l.Bit(lane)) {
        ++lane;
        continue;
      }
      uint32_t end = lane + 1;
      while (end < l.width && l.Bit(end)) ++end;
      TouchRun(in, kind, t, operand, size, base, block_bytes, lane, end);
      lane = end;
    }
  }
}

uint32_t RepeatCycles(const Strides& s) {
  const uint32_t stride = static_cast<uint16_t>(s.block) % 16u;
  if (static_cast<uint16_t>(s.block) == 0) return 1;  // one block, broadcast
  uint32_t hits[16] = {}, most = 0;
  for (uint32_t b = 0; b < 8; ++b) most = std::max(most, ++hits[b * stride % 16]);
  return most;
}

}  // namespace twin
