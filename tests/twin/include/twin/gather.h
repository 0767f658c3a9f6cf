// SPDX-License-Identifier: Apache-2.0
// Gather by byte offsets, Transpose of 16 x 16, TransDataTo5HD.
#pragma once

#include <vector>

#include "twin/lanes.h"
#include "twin/vector_params.h"

namespace twin {

// One destination element: its byte offset and which entry of the offset tensor it takes.
struct GatherLane {
  uint64_t to;
  uint32_t entry;
};

template <class T>
std::vector<GatherLane> GatherLanes(const Lanes& lanes, uint64_t repeat_bytes) {
  std::vector<GatherLane> list;
  ForLanes(lanes, [&](uint32_t r, uint32_t l) {
    list.push_back({r * repeat_bytes + uint64_t{l} * sizeof(T), r * lanes.width + l});
  });
  return list;
}

template <class T>
void RunGather(Instr& in, const AscendC::LocalTensor<T>& dst, const AscendC::LocalTensor<T>& src,
               const AscendC::LocalTensor<uint32_t>& srcOffset, uint32_t base, const Lanes& lanes,
               uint64_t repeat_bytes) {
  in.Require(sizeof(T) == 2 || sizeof(T) == 4, Rule::kType, "takes 16- and 32-bit types only");
  in.In(dst.ref(), "dst", kUbOnly, 32);
  in.In(src.ref(), "src", kUbOnly, 32);
  in.In(srcOffset.ref(), "srcOffset", kUbOnly, 32);
  CheckLanes(in, lanes);
  if (!in.ok()) return;
  const std::vector<GatherLane> list = GatherLanes<T>(lanes, repeat_bytes);
  for (const GatherLane& l : list)
    in.Touch(Access::kRead, srcOffset.ref(), "srcOffset", uint64_t{l.entry} * 4, 4);
  std::vector<uint32_t> offsets(list.size());
  for (size_t i = 0; i < list.size() && in.ok(); ++i) {
    std::memcpy(&offsets[i], in.Data(srcOffset.ref(), uint64_t{list[i].entry} * 4), 4);
    in.Require(offsets[i] % sizeof(T) == 0, Rule::kAlignment, "offset %u must be a multiple of %zu bytes",
               offsets[i], sizeof(T));
    in.Touch(Access::kRead, src.ref(), "src", uint64_t{base} + offsets[i], sizeof(T));
  }
  for (const GatherLane& l : list) in.Touch(Access::kWrite, dst.ref(), "dst", l.to, sizeof(T));
  Cost cost{Path::kVector};
  cost.repeats = lanes.Repeats();
  cost.repeat_cycles = 256 / sizeof(T) / 8;
  if (!in.Issue(cost)) return;
  for (size_t i = 0; i < list.size(); ++i) {
    std::memcpy(in.Data(dst.ref(), list[i].to), in.Data(src.ref(), uint64_t{base} + offsets[i]), sizeof(T));
  }
}

}  // namespace twin

namespace AscendC {

template <class T>
void Gather(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LocalTensor<uint32_t>& srcOffset,
            const uint32_t srcBaseOffset, const uint32_t count, TWIN_SITE) {
  twin::Instr in("Gather", twin::Pipe::kV, site);
  twin::RunGather(in, dst, src, srcOffset, srcBaseOffset, twin::CountLanes(count, sizeof(T)), 256);
}
template <class T>
void Gather(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LocalTensor<uint32_t>& srcOffset,
            const uint32_t srcBaseOffset, const uint64_t mask, const twin::Repeat repeatTime,
            const twin::Field<uint16_t> dstRepStride, TWIN_SITE) {
  twin::Instr in("Gather", twin::Pipe::kV, site);
  if (!twin::Fits(in, "dstRepStride", dstRepStride)) return;
  twin::RunGather(in, dst, src, srcOffset, srcBaseOffset,
                  twin::MaskLanes(mask, repeatTime.wide, sizeof(T), true), dstRepStride * 32ull);
}
template <class T>
void Gather(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LocalTensor<uint32_t>& srcOffset,
            const uint32_t srcBaseOffset, const uint64_t mask[], const twin::Repeat repeatTime,
            const twin::Field<uint16_t> dstRepStride, TWIN_SITE) {
  twin::Instr in("Gather", twin::Pipe::kV, site);
  if (!twin::Fits(in, "dstRepStride", dstRepStride)) return;
  twin::RunGather(in, dst, src, srcOffset, srcBaseOffset,
                  twin::MaskLanes(mask, repeatTime.wide, sizeof(T), true), dstRepStride * 32ull);
}

template <class T>
void Transpose(const LocalTensor<T>& dst, const LocalTensor<T>& src, TWIN_SITE) {
  using namespace twin;
  Instr in("Transpose", Pipe::kV, site);
  in.Require(sizeof(T) == 2, Rule::kType, "takes 16-bit types only");
  in.In(dst.ref(), "dst", kUbOnly, 32);
  in.In(src.ref(), "src", kUbOnly, 32);
  in.Touch(Access::kRead, src.ref(), "src", 0, 512);
  in.Touch(Access::kWrite, dst.ref(), "dst", 0, 512);
  Cost cost{Path::kVector};
  cost.repeats = 2;
  if (!in.Issue(cost)) return;
  uint16_t square[256];
  std::memcpy(square, in.Data(src.ref()), 512);
  for (uint32_t i = 0; i < 256; ++i) std::memcpy(in.Data(dst.ref(), i * 2), &square[i % 16 * 16 + i / 16], 2);
}

// Sixteen rows of one block each become columns: 16 x 16 of 16 bits, or 16 x 8 of 32 bits (two rows a
// column).
template <class T>
void TransDataTo5HD(const LocalTensor<T> (&dstList)[16], const LocalTensor<T> (&srcList)[16],
                    const TransDataTo5HDParams& params, TWIN_SITE) {
  using namespace twin;
  Instr in("TransDataTo5HD", Pipe::kV, site);
  in.Require(sizeof(T) == 2 || sizeof(T) == 4, Rule::kUnsupported, "8-bit types are not modelled");
  Fits(in, "repeatTimes", params.repeatTimes);
  const int64_t repeats = params.repeatTimes.wide;
  const int64_t dst_stride = params.dstRepStride.wide * 32, src_stride = params.srcRepStride.wide * 32;
  // A single repeat starts one stride behind the list (documented); with more the first starts at it.
  const int64_t first = repeats == 1 ? 1 : 0;
  for (int i = 0; i < 16; ++i) {
    in.In(srcList[i].ref(), "srcList", kUbOnly, 32);
    in.In(dstList[i].ref(), "dstList", kUbOnly, 32);
    for (int64_t r = 0; r < repeats && in.ok(); ++r) {
      in.Touch(Access::kRead, srcList[i].ref(), "srcList", uint64_t((first + r) * src_stride), 32);
      in.Touch(Access::kWrite, dstList[i].ref(), "dstList", uint64_t((first + r) * dst_stride), 32);
    }
  }
  Cost cost{Path::kVector};
  cost.repeats = static_cast<uint32_t>(2 * repeats);
  if (!in.Issue(cost)) return;
  constexpr uint32_t columns = 32 / sizeof(T);
  for (int64_t r = 0; r < repeats; ++r) {
    T rows[16][columns];
    for (int i = 0; i < 16; ++i)
      std::memcpy(rows[i], in.Data(srcList[i].ref(), uint64_t((first + r) * src_stride)), 32);
    for (uint32_t c = 0; c < columns; ++c) {
      for (uint32_t i = 0; i < 16; ++i) {
        const uint32_t list = c * (16 / columns) + i / columns;
        const uint64_t at = uint64_t((first + r) * dst_stride) + i % columns * sizeof(T);
        std::memcpy(in.Data(dstList[list].ref(), at), &rows[i][c], sizeof(T));
      }
    }
  }
}

}  // namespace AscendC
