// SPDX-License-Identifier: Apache-2.0
// What this machine can do at best: multiply-adds and loads without anything else, and a MindSpore custom
// operator that does nothing. Every probe returns the seconds from the common start to the last thread's end.
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>
#if defined(__x86_64__)
#include <immintrin.h>
#define TARGET(isa) __attribute__((target(isa)))
#endif

#define INLINE inline __attribute__((always_inline))
#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

typedef float F128 __attribute__((vector_size(16)));
typedef float F256 __attribute__((vector_size(32)));
typedef float F512 __attribute__((vector_size(64)));
typedef uint64_t U128 __attribute__((vector_size(16)));
typedef uint64_t U256 __attribute__((vector_size(32)));
typedef uint64_t U512 __attribute__((vector_size(64)));

// Enough independent chains for the latency of two units, few enough for 16 registers.
constexpr int kChains = 12;

std::atomic<uint64_t> sink{0};  // keeps results alive

// Binds a thread to one of the processors that it may use: the system would at times let two members share
// one.
class Bound {
 public:
  explicit Bound(int member) {
    sched_getaffinity(0, sizeof before_, &before_);
    int skip = member % CPU_COUNT(&before_), cpu = 0;
    while (!CPU_ISSET(cpu, &before_) || skip-- > 0) ++cpu;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    sched_setaffinity(0, sizeof one, &one);
  }
  ~Bound() { sched_setaffinity(0, sizeof before_, &before_); }

 private:
  cpu_set_t before_;
};

template <class Work>
double Time(int threads, const Work& work) {
  using Clock = std::chrono::steady_clock;
  std::atomic<int> waiting{threads};
  std::vector<Clock::time_point> start(threads), end(threads);
  auto run = [&](int member) {
    const Bound bound(member);
    waiting.fetch_sub(1);
    while (waiting.load() > 0) std::this_thread::yield();
    start[member] = Clock::now();
    sink += work(member);
    end[member] = Clock::now();
  };
  std::vector<std::thread> team;
  for (int member = 1; member < threads; ++member) team.emplace_back(run, member);
  run(0);
  for (std::thread& thread : team) thread.join();
  const auto first = *std::min_element(start.begin(), start.end());
  return std::chrono::duration<double>(*std::max_element(end.begin(), end.end()) - first).count();
}

template <class V, int kCount>
INLINE uint64_t Fold(const V (&vectors)[kCount]) {
  uint64_t words[sizeof(vectors) / 8], sum = 0;
  std::memcpy(words, vectors, sizeof(vectors));
  for (uint64_t word : words) sum += word;
  return sum;
}

// x + x * 2^-30 is x in float32, so nothing overflows or denormalises; the compiler does not know the factor.
// It contracts the product and the sum to one instruction wherever the target has it.
template <class V>
INLINE uint64_t MultiplyAdd(int64_t rounds) {
  volatile float unknown = 0x1p-30f;
  const V factor = V{} + unknown;
  V chains[kChains];
  for (V& chain : chains) chain = V{} + (1.0f + unknown);
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) chains[i] += chains[i] * factor;
  }
  return Fold(chains);
}

// Adds the 64-bit words of `bytes` bytes in two chains; bytes left over are added one by one.
template <class V>
INLINE void AddLoads(const uint8_t* from, int64_t bytes, V* sums) {
  constexpr int64_t kBytes = sizeof(V);
  int64_t at = 0;
  for (; at + 2 * kBytes <= bytes; at += 2 * kBytes) {
    V first, second;
    std::memcpy(&first, from + at, kBytes);
    std::memcpy(&second, from + at + kBytes, kBytes);
    sums[0] += first;
    sums[1] += second;
  }
  for (; at + 8 <= bytes; at += 8) {
    uint64_t word;
    std::memcpy(&word, from + at, 8);
    sums[0][0] += word;
  }
  for (; at < bytes; ++at) sums[0][0] += from[at];
}

template <class V>
INLINE uint64_t Stream(const uint8_t* from, int64_t bytes) {
  V sums[2];
  std::memset(sums, 0, sizeof(sums));
  AddLoads(from, bytes, sums);
  return Fold(sums);
}

}  // namespace

// The rows that one decode call reads, as the operator is given them.
struct RowLoads {
  const uint8_t* key;           // [num_blocks, page_block_size, n2, key_bytes]
  const uint8_t* value;         // [num_blocks, page_block_size, n2, value_bytes]
  const int32_t* topk_indices;  // [batch, n2, select_block_count]
  const int32_t* block_table;   // [batch, max_blocks]
  int64_t batch, n2, select_block_count, select_block_size, page_block_size, max_blocks, kv_len;
  int64_t key_bytes, value_bytes;  // of one row of one head
};

namespace {

// Calls visit(row address of key, of value) for the rows of one selected block; `unit` counts batch, head,
// slot.
template <class Visit>
INLINE void ForRows(const RowLoads& loads, int64_t unit, const Visit& visit) {
  const int64_t head = unit / loads.select_block_count % loads.n2;
  const int64_t b = unit / loads.select_block_count / loads.n2, block = loads.topk_indices[unit];
  if (block < 0) return;
  const int64_t first = block * loads.select_block_size;
  const int64_t end = std::min(first + loads.select_block_size, loads.kv_len);
  for (int64_t row = first; row < end; ++row) {
    const int64_t page = loads.block_table[b * loads.max_blocks + row / loads.page_block_size];
    const int64_t at = (page * loads.page_block_size + row % loads.page_block_size) * loads.n2 + head;
    visit(loads.key + at * loads.key_bytes, loads.value + at * loads.value_bytes);
  }
}

INLINE void PrefetchRow(const uint8_t* row, int64_t bytes) {
  for (int64_t at = 0; at < bytes; at += 64) __builtin_prefetch(row + at);
  __builtin_prefetch(row + bytes - 1);  // a row need not begin with a line
}

// Row by row: loads one of this block, prefetches one of the block `ahead` units later.
template <class V>
INLINE uint64_t LoadRows(const RowLoads& loads, int64_t begin, int64_t end, int64_t ahead) {
  V sums[2];
  std::memset(sums, 0, sizeof(sums));
  std::vector<const uint8_t*> next(2 * loads.select_block_size);
  for (int64_t unit = begin; unit < end; ++unit) {
    int64_t rows = 0, row = 0;
    if (ahead > 0 && unit + ahead < end) {
      ForRows(loads, unit + ahead, [&](const uint8_t* key, const uint8_t* value) {
        next[rows++] = key;
        next[rows++] = value;
      });
    }
    ForRows(loads, unit, [&](const uint8_t* key, const uint8_t* value) {
      if (row < rows) {
        PrefetchRow(next[row++], loads.key_bytes);
        PrefetchRow(next[row++], loads.value_bytes);
      }
      AddLoads(key, loads.key_bytes, sums);
      AddLoads(value, loads.value_bytes, sums);
    });
  }
  return Fold(sums);
}

struct Probes {
  uint64_t (*multiply_add)(int64_t rounds);
  uint64_t (*stream)(const uint8_t* from, int64_t bytes);
  uint64_t (*load_rows)(const RowLoads& loads, int64_t begin, int64_t end, int64_t ahead);
  int multiply_adds;  // of one round
};

#define PROBES(Name, Attribute, F, U)                                                                   \
  Attribute uint64_t MultiplyAdd##Name(int64_t rounds) {                                                \
    return MultiplyAdd<F>(rounds);                                                                      \
  }                                                                                                     \
  Attribute uint64_t Stream##Name(const uint8_t* from, int64_t bytes) {                                 \
    return Stream<U>(from, bytes);                                                                      \
  }                                                                                                     \
  Attribute uint64_t LoadRows##Name(const RowLoads& loads, int64_t begin, int64_t end, int64_t ahead) { \
    return LoadRows<U>(loads, begin, end, ahead);                                                       \
  }                                                                                                     \
  constexpr Probes k##Name{MultiplyAdd##Name, Stream##Name, LoadRows##Name, int{sizeof(F)} / 4 * kChains};

PROBES(Width128, , F128, U128)
#if defined(__x86_64__)
PROBES(Width256, TARGET("avx2,fma"), F256, U256)
PROBES(Width512, TARGET("avx512f,fma"), F512, U512)

TARGET("avx512f,avx512bf16") uint64_t DotBf16(int64_t rounds) {
  __m512 chains[kChains];
  const __m512bh zero = (__m512bh)_mm512_setzero_si512();
  for (int i = 0; i < kChains; ++i) chains[i] = _mm512_set1_ps(i);
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) chains[i] = _mm512_dpbf16_ps(chains[i], zero, zero);
  }
  return Fold(chains);
}
#endif

// The widest vectors of at most `bits`, which the caller knows the machine to have.
const Probes& OfWidth([[maybe_unused]] int bits) {
#if defined(__x86_64__)
  if (bits == 512) return kWidth512;
  if (bits == 256) return kWidth256;
#endif
  return kWidth128;
}

}  // namespace

// Multiply-adds of `rounds` rounds of one thread.
EXPORT int64_t MultiplyAdds(int bits, int64_t rounds) {
  return OfWidth(bits).multiply_adds * rounds;
}

EXPORT double TimeMultiplyAdd(int bits, int threads, int64_t rounds) {
  const Probes& probes = OfWidth(bits);
  return Time(threads, [&](int) { return probes.multiply_add(rounds); });
}

#if defined(__x86_64__)
EXPORT int64_t DotBf16MultiplyAdds(int64_t rounds) {
  return kChains * 32 * rounds;
}

EXPORT double TimeDotBf16(int threads, int64_t rounds) {
  return Time(threads, [&](int) { return DotBf16(rounds); });
}
#endif

EXPORT double TimeStream(int bits, int threads, const uint8_t* memory, int64_t bytes) {
  const Probes& probes = OfWidth(bits);
  return Time(threads, [&](int member) {
    const int64_t begin = bytes * member / threads, end = bytes * (member + 1) / threads;
    return probes.stream(memory + begin, end - begin);
  });
}

EXPORT double TimeLoadRows(int bits, int threads, int64_t ahead, const RowLoads* loads) {
  const Probes& probes = OfWidth(bits);
  const int64_t units = loads->batch * loads->n2 * loads->select_block_count;
  return Time(threads, [&](int member) {
    return probes.load_rows(*loads, units * member / threads, units * (member + 1) / threads, ahead);
  });
}

// Sum of all that the probes have loaded and computed, for the proof that they did.
EXPORT uint64_t Sink() {
  return sink;
}

// MindSpore ahead-of-time custom operators that do nothing: what a call costs before any work. MindSpore
// keeps one registration a name, hence one name for each number of inputs and outputs.
EXPORT int BareForward(int, void**, int*, int64_t**, const char**, void*, void*) {
  return 0;
}
EXPORT int BareDecode(int, void**, int*, int64_t**, const char**, void*, void*) {
  return 0;
}
EXPORT int BareCompress(int, void**, int*, int64_t**, const char**, void*, void*) {
  return 0;
}
