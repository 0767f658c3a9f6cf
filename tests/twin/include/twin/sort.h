// SPDX-License-Identifier: Apache-2.0
// Sort32 and MrgSort: pairs of a score and an index, 8 bytes each, largest score first, ties in the order of
// the source.
#pragma once

#include <algorithm>
#include <array>
#include <numeric>
#include <vector>

#include "twin/lanes.h"
#include "twin/vector_params.h"

namespace AscendC {

struct MrgSort4Info {
  MrgSort4Info() = default;
  MrgSort4Info(const uint16_t lengths[4], bool suspend, twin::Field<uint16_t> valid,
               twin::Field<uint8_t> repeats)
      : ifExhaustedSuspension(suspend), validBit(valid), repeatTimes(repeats) {
    for (int i = 0; i < 4; ++i) elementLengths[i] = lengths[i];
  }

  twin::Field<uint16_t> elementLengths[4] = {0, 0, 0, 0};
  bool ifExhaustedSuspension = false;
  twin::Field<uint16_t> validBit = 0;
  twin::Field<uint8_t> repeatTimes = 1;
};

template <class T>
struct MrgSortSrcList {
  MrgSortSrcList() = default;
  MrgSortSrcList(const LocalTensor<T>& a, const LocalTensor<T>& b, const LocalTensor<T>& c,
                 const LocalTensor<T>& d)
      : src1(a[0]), src2(b[0]), src3(c[0]), src4(d[0]) {}
  LocalTensor<T> src1, src2, src3, src4;
};

}  // namespace AscendC

namespace twin {

// Sources and result may share a part of UB at no time.
inline void RequireApart(Instr& in, const LocalRef& dst, uint64_t dst_bytes, const LocalRef& src,
                         uint64_t src_bytes) {
  in.Require(dst.addr + dst_bytes <= src.addr || src.addr + src_bytes <= dst.addr, Rule::kOverlap,
             "dst and src overlap");
}

template <class T>
struct SortPair {
  T score;
  std::array<uint8_t, 8> bytes;
};

template <class T>
void LoadPairs(Instr& in, const LocalRef& src, uint64_t at, uint32_t count, std::vector<SortPair<T>>& pairs) {
  for (uint32_t i = 0; i < count; ++i) {
    SortPair<T> pair;
    std::memcpy(pair.bytes.data(), in.Data(src, at + uint64_t{i} * 8), 8);
    std::memcpy(&pair.score, pair.bytes.data(), sizeof(T));
    pairs.push_back(pair);
  }
}

// What the queues give when always the largest head is taken, the first queue's among equals.
template <class T>
std::vector<SortPair<T>> MergeQueues(const std::vector<std::vector<SortPair<T>>>& queues, bool suspend) {
  std::vector<size_t> at(queues.size(), 0);
  std::vector<SortPair<T>> out;
  for (;;) {
    size_t best = queues.size();
    for (size_t q = 0; q < queues.size(); ++q) {
      if (at[q] == queues[q].size()) continue;
      if (best == queues.size() || queues[q][at[q]].score > queues[best][at[best]].score) best = q;
    }
    if (best == queues.size()) return out;
    out.push_back(queues[best][at[best]++]);
    if (suspend && at[best] == queues[best].size()) return out;
  }
}

}  // namespace twin

namespace AscendC {

template <class T>
void Sort32(const LocalTensor<T>& dst, const LocalTensor<T>& src0, const LocalTensor<uint32_t>& src1,
            const twin::Field<uint8_t> repeatTime, TWIN_SITE) {
  using namespace twin;
  constexpr uint32_t kNumbers = 32;
  Instr in("Sort32", Pipe::kV, site);
  RequireType<T, half, float>(in);
  Fits(in, "repeatTime", repeatTime);
  in.In(dst.ref(), "dst", kUbOnly, 256);
  in.In(src0.ref(), "src0", kUbOnly, kNumbers * sizeof(T));
  in.In(src1.ref(), "src1", kUbOnly, 128);
  const uint64_t numbers = static_cast<uint64_t>(repeatTime.wide) * kNumbers;
  RequireApart(in, dst.ref(), numbers * 8, src0.ref(), numbers * sizeof(T));
  RequireApart(in, dst.ref(), numbers * 8, src1.ref(), numbers * 4);
  if (!in.ok() || numbers == 0) return;
  in.Touch(Access::kRead, src0.ref(), "src0", 0, numbers * sizeof(T));
  in.Touch(Access::kRead, src1.ref(), "src1", 0, numbers * 4);
  in.Touch(Access::kWrite, dst.ref(), "dst", 0, numbers * 8);
  Cost cost{Path::kVector};
  cost.repeats = static_cast<uint32_t>(repeatTime.wide);
  cost.repeat_cycles = kNumbers * 8 / 32;  // not published: a block of 32 bytes a cycle comes out
  if (!in.Issue(cost)) return;
  for (uint64_t first = 0; first < numbers; first += kNumbers) {
    std::array<T, kNumbers> score;
    std::array<uint32_t, kNumbers> index;
    std::memcpy(score.data(), in.Data(src0.ref(), first * sizeof(T)), sizeof(score));
    std::memcpy(index.data(), in.Data(src1.ref(), first * 4), sizeof(index));
    std::array<uint32_t, kNumbers> order;
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return score[a] > score[b]; });
    for (uint32_t i = 0; i < kNumbers; ++i) {
      uint8_t* to = in.Data(dst.ref(), (first + i) * 8);
      std::memset(to, 0, 8);
      std::memcpy(to, &score[order[i]], sizeof(T));
      std::memcpy(to + 4, &index[order[i]], 4);
    }
  }
}

template <class T>
void MrgSort(const LocalTensor<T>& dst, const MrgSortSrcList<T>& src, const MrgSort4Info& params, TWIN_SITE) {
  using namespace twin;
  Instr in("MrgSort", Pipe::kV, site);
  RequireType<T, half, float>(in);
  const LocalTensor<T>* sources[4] = {&src.src1, &src.src2, &src.src3, &src.src4};
  const int64_t valid = params.validBit.wide, repeats = params.repeatTimes.wide;
  in.Require(valid == 3 || valid == 7 || valid == 15, Rule::kRange, "validBit must be 3, 7 or 15, got %lld",
             static_cast<long long>(valid));
  Fits(in, "repeatTimes", params.repeatTimes);
  in.In(dst.ref(), "dst", kUbOnly, 32);
  if (!in.ok() || repeats == 0) return;
  const int queues = valid == 3 ? 2 : valid == 7 ? 3 : 4;
  uint64_t total = 0;
  for (int q = 0; q < queues; ++q) {
    in.In(sources[q]->ref(), "src", kUbOnly, 8);
    InRange(in, "elementLengths", params.elementLengths[q], 0, 4095);
    total += static_cast<uint64_t>(params.elementLengths[q].wide);
  }
  const uint64_t length = static_cast<uint64_t>(params.elementLengths[0].wide);
  for (int q = 0; repeats > 1 && q < 4; ++q) {
    const bool alike = queues == 4 && params.elementLengths[q].wide == params.elementLengths[0].wide &&
                       sources[q]->ref().addr == sources[0]->ref().addr + q * length * 8;
    in.Require(alike && !params.ifExhaustedSuspension, Rule::kRange,
               "repeatTimes beyond 1 wants four queues of one length side by side, and no suspension");
  }
  if (!in.ok()) return;
  for (int q = 0; q < queues; ++q) {
    const uint64_t bytes = static_cast<uint64_t>(params.elementLengths[q].wide) * 8;
    for (int64_t r = 0; r < repeats; ++r)
      in.Touch(Access::kRead, sources[q]->ref(), "src", r * total * 8, bytes);
    RequireApart(in, dst.ref(), repeats * total * 8, sources[q]->ref(), (repeats - 1) * total * 8 + bytes);
  }
  in.Touch(Access::kWrite, dst.ref(), "dst", 0, repeats * total * 8);
  Cost cost{Path::kVector};
  cost.repeats = static_cast<uint32_t>(repeats * total);  // not published: a pair a cycle
  if (!in.Issue(cost)) return;
  for (int64_t r = 0; r < repeats; ++r) {
    std::vector<std::vector<SortPair<T>>> list(queues);
    for (int q = 0; q < queues; ++q)
      LoadPairs(in, sources[q]->ref(), r * total * 8, static_cast<uint32_t>(params.elementLengths[q].wide),
                list[q]);
    uint64_t at = r * total * 8;
    for (const SortPair<T>& pair : MergeQueues(list, params.ifExhaustedSuspension)) {
      std::memcpy(in.Data(dst.ref(), at), pair.bytes.data(), 8);
      at += 8;
    }
  }
}

}  // namespace AscendC
