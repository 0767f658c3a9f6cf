// Gather by byte offsets, GatherMask (compaction), Transpose of 16 x 16, TransDataTo5HD.
#pragma once

#include <vector>

#include "twin/lanes.h"
#include "twin/vector_params.h"

namespace AscendC {

template <class T>
void Gather(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LocalTensor<uint32_t>& srcOffset,
            const uint32_t srcBaseOffset, const uint32_t count, TWIN_SITE) {
  using namespace twin;
  Instr in("Gather", Pipe::kV, site);
  in.Require(sizeof(T) == 2 || sizeof(T) == 4, Rule::kType, "takes 16- and 32-bit types only");
  in.In(dst.ref(), "dst", kUbOnly, 32);
  in.In(src.ref(), "src", kUbOnly, 32);
  in.In(srcOffset.ref(), "srcOffset", kUbOnly, 32);
  in.Require(count > 0, Rule::kMask, "count must be at least 1");
  MaskState() = VectorMask{};
  in.Touch(Access::kRead, srcOffset.ref(), "srcOffset", 0, uint64_t{count} * 4);
  if (!in.ok()) return;
  std::vector<uint32_t> offsets(count);
  std::memcpy(offsets.data(), in.Data(srcOffset.ref()), size_t{count} * 4);
  for (const uint32_t offset : offsets) {
    in.Require(offset % sizeof(T) == 0, Rule::kAlignment, "offset %u must be a multiple of %zu bytes", offset,
               sizeof(T));
    in.Touch(Access::kRead, src.ref(), "src", uint64_t{srcBaseOffset} + offset, sizeof(T));
    if (!in.ok()) return;
  }
  in.Touch(Access::kWrite, dst.ref(), "dst", 0, uint64_t{count} * sizeof(T));
  Cost cost{Path::kVector};
  cost.repeats = (count * static_cast<uint32_t>(sizeof(T)) + 255) / 256;
  cost.repeat_cycles = 256 / sizeof(T) / 8;
  if (!in.Issue(cost)) return;
  for (uint32_t i = 0; i < count; ++i) {
    std::memcpy(in.Data(dst.ref(), uint64_t{i} * sizeof(T)),
                in.Data(src.ref(), uint64_t{srcBaseOffset} + offsets[i]), sizeof(T));
  }
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
  const int64_t dst_stride = repeats == 1 ? 0 : params.dstRepStride.wide * 32;
  const int64_t src_stride = repeats == 1 ? 0 : params.srcRepStride.wide * 32;
  for (int i = 0; i < 16; ++i) {
    in.In(srcList[i].ref(), "srcList", kUbOnly, 32);
    in.In(dstList[i].ref(), "dstList", kUbOnly, 32);
    for (int64_t r = 0; r < repeats && in.ok(); ++r) {
      in.Touch(Access::kRead, srcList[i].ref(), "srcList", uint64_t(r * src_stride), 32);
      in.Touch(Access::kWrite, dstList[i].ref(), "dstList", uint64_t(r * dst_stride), 32);
    }
  }
  Cost cost{Path::kVector};
  cost.repeats = static_cast<uint32_t>(2 * repeats);
  if (!in.Issue(cost)) return;
  constexpr uint32_t columns = 32 / sizeof(T);
  for (int64_t r = 0; r < repeats; ++r) {
    T rows[16][columns];
    for (int i = 0; i < 16; ++i)
      std::memcpy(rows[i], in.Data(srcList[i].ref(), uint64_t(r * src_stride)), 32);
    for (uint32_t c = 0; c < columns; ++c) {
      for (uint32_t i = 0; i < 16; ++i) {
        const uint32_t list = c * (16 / columns) + i / columns;
        std::memcpy(in.Data(dstList[list].ref(), uint64_t(r * dst_stride) + i % columns * sizeof(T)),
                    &rows[i][c], sizeof(T));
      }
    }
  }
}

}  // namespace AscendC
