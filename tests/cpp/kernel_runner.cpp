// SPDX-License-Identifier: Apache-2.0
// Runs the kernels of one ISA on the cases of a file, without Python or MindSpore.
//   kernel_runner --isas                        names of the ISAs this machine runs
//   kernel_runner ISA THREADS[,THREADS...] IN OUT
//     with KERNEL_RUNNER_ROUNDING set from threads that round upward and, on x86, flush subnormals
//   kernel_runner --together REPEATS IN OUT     all records at once, each in a thread of its own
//   kernel_runner --joined REPEATS IN OUT       on one thread which another joins; prints how often it did
// IN: records as tests/support/case_file.py writes them. OUT: for each record, for each number of threads
// or repeat, its outputs one after another. Inputs and outputs lie between guard pages; inputs are read-only,
// outputs start as NaN.
#include <malloc.h>
#include <omp.h>

#include <atomic>
#include <cfenv>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include "../../ms_nsa/csrc/dispatch.h"
#include "../../ms_nsa/csrc/runtime/work_offer.h"
#include "guarded_buffer.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace ms_nsa {
namespace {

int64_t max_threads = 0;  // of every call

enum Operator : int64_t {
  kSelect,
  kSelectGrad,
  kPaged,
  kCompress,
  kCompressGrad,
  kPagedCompress,
  kCompressAttention,
  kGatedSum,
  kGatedSumGrad,
  kRotate,
  kSum,
  kProduct,
  kCast
};

struct Record {
  int64_t op;
  std::vector<int64_t> sizes;
  double scale;
  std::vector<std::string> inputs;
  std::vector<bool> present;
  std::vector<int64_t> output_bytes;
};

int64_t ReadWord(std::istream& in) {
  int64_t word;
  if (!in.read(reinterpret_cast<char*>(&word), sizeof word)) throw std::runtime_error("case file ends early");
  return word;
}

Record ReadRecord(std::istream& in) {
  Record record;
  record.op = ReadWord(in);
  record.sizes.resize(ReadWord(in));
  for (int64_t& size : record.sizes) size = ReadWord(in);
  const int64_t bits = ReadWord(in);
  std::memcpy(&record.scale, &bits, sizeof bits);
  record.inputs.resize(ReadWord(in));
  for (std::string& input : record.inputs) {
    const int64_t bytes = ReadWord(in);
    record.present.push_back(bytes >= 0);
    input.resize(bytes > 0 ? bytes : 0);
    in.read(input.data(), static_cast<std::streamsize>(input.size()));
  }
  record.output_bytes.resize(ReadWord(in));
  for (int64_t& bytes : record.output_bytes) bytes = ReadWord(in);
  return record;
}

// A record in guarded memory.
struct Arguments {
  Arguments(const Record& record, Placement placement) : record(record) {
    for (const std::string& input : record.inputs) {
      inputs.emplace_back(input.size(), placement);
      std::memcpy(inputs.back().data(), input.data(), input.size());
      inputs.back().MakeReadOnly();
    }
    for (const int64_t bytes : record.output_bytes) {
      outputs.emplace_back(bytes, placement);
      std::memset(outputs.back().data(), 0xff, bytes);
    }
  }
  template <class T>
  const T* In(size_t i) const {
    return record.present.at(i) ? static_cast<const T*>(inputs[i].data()) : nullptr;
  }
  template <class T>
  T* Out(size_t i) const {
    return static_cast<T*>(outputs.at(i).data());
  }

  const Record& record;
  std::vector<GuardedBuffer> inputs, outputs;
};

// raw_lens is the input that has the raw rows of compressed sequences.
PackedAttentionInputs SelectInputs(const Arguments& a, size_t raw_lens) {
  const auto& n = a.record.sizes;
  PackedAttentionInputs in{};
  in.query = a.In<void>(0);
  in.key = a.In<void>(1);
  in.value = a.In<void>(2);
  in.topk_indices = a.In<int32_t>(3);
  in.atten_mask = a.In<uint8_t>(4);
  in.actual_seq_qlen = a.In<int64_t>(5);
  in.actual_seq_kvlen = a.In<int64_t>(6);
  in.batch = n.at(0), in.t1 = n.at(1), in.t2 = n.at(2), in.n1 = n.at(3), in.n2 = n.at(4);
  in.d1 = n.at(5), in.d2 = n.at(6), in.select_block_size = n.at(7), in.select_block_count = n.at(8);
  in.atten_mask_cols = n.at(9);
  in.dtype = static_cast<DType>(n.at(10));
  in.sparse_mode = static_cast<SparseMode>(n.at(11));
  in.key_rule = static_cast<KeyRule>(n.at(12));
  in.window_size = n.at(13), in.compress_block_size = n.at(14), in.compress_stride = n.at(15);
  if (in.key_rule == KeyRule::kCompressed) in.raw_seq_kvlen = a.In<int64_t>(raw_lens);
  in.scale_value = static_cast<float>(a.record.scale);
  in.max_threads = max_threads;
  return in;
}

constexpr unsigned kFlush = 0x8040;  // of results and of operands

bool HasAnotherEnvironment() {
#if defined(__x86_64__)
  if ((_mm_getcsr() & kFlush) != kFlush) return false;
#endif
  return std::fegetround() == FE_UPWARD;
}

// Calls the kernel; if so told, from a thread with another float environment, which threads that OpenMP
// starts inherit.
template <class Params>
void Call(void (*kernel)(const Params&), const std::common_type_t<Params>& params) {
  if (std::getenv("KERNEL_RUNNER_ROUNDING") == nullptr) return kernel(params);
  std::fesetround(FE_UPWARD);
#if defined(__x86_64__)
  _mm_setcsr(_mm_getcsr() | kFlush);
#endif
  kernel(params);
  const bool kept = HasAnotherEnvironment();
  std::fesetenv(FE_DFL_ENV);
  if (!kept) throw std::runtime_error("the kernel changed its caller's float environment");
}

void RunSelect(const Arguments& a) {
  Call(Kernels().packed_attention, {SelectInputs(a, 7), a.Out<void>(0), a.Out<float>(1), a.Out<float>(2)});
}

void RunSelectGrad(const Arguments& a) {
  Call(Kernels().packed_attention_grad,
       {SelectInputs(a, 13), a.In<void>(7), a.In<void>(8), a.In<float>(9), a.In<float>(10), a.In<float>(11),
        a.In<float>(12), a.Out<void>(0), a.Out<void>(1), a.Out<void>(2)});
}

void RunPaged(const Arguments& a) {
  const auto& n = a.record.sizes;
  PagedAttentionParams p{};
  p.query = a.In<void>(0);
  p.key = a.In<void>(1);
  p.value = a.In<void>(2);
  p.topk_indices = a.In<int32_t>(3);
  p.atten_mask = a.In<uint8_t>(4);
  p.block_table = a.In<int32_t>(5);
  p.query_start = a.In<int64_t>(6);
  p.q_len = a.In<int64_t>(7);
  p.kv_len = a.In<int64_t>(8);
  p.batch = n.at(0), p.tokens = n.at(1), p.n1 = n.at(2), p.n2 = n.at(3), p.d1 = n.at(4), p.d2 = n.at(5);
  p.num_blocks = n.at(6), p.page_block_size = n.at(7), p.max_blocks = n.at(8);
  p.select_block_size = n.at(9), p.select_block_count = n.at(10), p.atten_mask_cols = n.at(11);
  p.dtype = static_cast<DType>(n.at(12));
  p.sparse_mode = static_cast<SparseMode>(n.at(13));
  p.scale_value = static_cast<float>(a.record.scale);
  p.max_threads = max_threads;
  p.atten_mask_rows = n.at(14);
  p.key_rule = static_cast<KeyRule>(n.at(15));
  p.window_size = n.at(16), p.compress_block_size = n.at(17), p.compress_stride = n.at(18);
  p.heads_first = n.at(19) != 0;
  const BlockChoice choice{n.at(20), n.at(21), n.at(22), n.at(23), nullptr, 0};
  p.attention_out = a.Out<void>(0);
  size_t outputs = 1;
  if (p.key_rule == KeyRule::kCompressed) {
    p.choice = &choice;
    p.chosen_indices = a.Out<int32_t>(outputs++);
  }
  p.softmax_max = a.outputs.size() > outputs ? a.Out<float>(outputs) : nullptr;
  p.softmax_sum = a.outputs.size() > outputs ? a.Out<float>(outputs + 1) : nullptr;
  Call(Kernels().paged_attention, p);
}

CompressInputs CompressionInputs(const Arguments& a) {
  const auto& n = a.record.sizes;
  CompressInputs in{};
  in.input = a.In<void>(0);
  in.weight = a.In<void>(1);
  in.actual_seq_len = a.In<int64_t>(2);
  in.batch = n.at(0), in.t2 = n.at(1), in.n2 = n.at(2), in.d = n.at(3);
  in.compress_block_size = n.at(4), in.compress_stride = n.at(5);
  in.dtype = static_cast<DType>(n.at(6));
  in.max_threads = max_threads;
  return in;
}

void RunCompress(const Arguments& a) {
  Call(Kernels().compress, {CompressionInputs(a), a.record.sizes.at(7), a.Out<void>(0)});
}

void RunCompressGrad(const Arguments& a) {
  void* weight_grad = a.outputs.size() == 2 ? a.Out<void>(1) : nullptr;
  Call(Kernels().compress_grad, {CompressionInputs(a), a.In<void>(3), a.Out<void>(0), weight_grad});
}

void RunPagedCompress(const Arguments& a) {
  const auto& n = a.record.sizes;
  PagedCompressParams p{};
  p.input = a.In<void>(0);
  p.weight = a.In<void>(1);
  p.slot_mapping = a.In<int32_t>(2);
  p.block_table = a.In<int32_t>(3);
  p.kv_len = a.In<int64_t>(4);
  p.q_len = a.In<int64_t>(5);
  p.batch = n.at(0), p.slots = n.at(1), p.n2 = n.at(2), p.d = n.at(3);
  p.num_blocks = n.at(4), p.page_block_size = n.at(5), p.max_blocks = n.at(6);
  p.compress_block_size = n.at(7), p.compress_stride = n.at(8);
  p.dtype = static_cast<DType>(n.at(9));
  p.heads_first = n.at(10) != 0;
  p.max_threads = max_threads;
  p.rows = a.Out<void>(0);
  p.written_slots = a.Out<int32_t>(1);
  Call(Kernels().paged_compress, p);
}

void RunCompressAttention(const Arguments& a) {
  const auto& n = a.record.sizes;
  CompressAttentionParams p{};
  p.in = SelectInputs(a, 7);
  p.choice = {n.at(16), n.at(17), n.at(18), n.at(19), a.In<uint8_t>(8), n.at(20)};
  const size_t first = a.outputs.size() == 4 ? 1 : 0;
  p.attention_out = first == 1 ? a.Out<void>(0) : nullptr;
  p.topk_indices = a.Out<int32_t>(first);
  p.softmax_max = a.Out<float>(first + 1);
  p.softmax_sum = a.Out<float>(first + 2);
  Call(Kernels().compress_attention, p);
}

GatedSumInputs GatedInputs(const Arguments& a) {
  const auto& n = a.record.sizes;
  const auto dtype = static_cast<DType>(n.at(2));
  return {
      {a.In<void>(0), a.In<void>(1), a.In<void>(2)}, a.In<float>(3), n.at(0), n.at(1), max_threads, dtype};
}

void RunGatedSum(const Arguments& a) {
  Call(Kernels().gated_sum, {GatedInputs(a), a.Out<void>(0)});
}

void RunGatedSumGrad(const Arguments& a) {
  GatedSumGradParams p{GatedInputs(a), a.In<void>(4), {}, a.Out<float>(3)};
  for (int64_t branch = 0; branch < kBranches; ++branch) p.branch_grad[branch] = a.Out<void>(branch);
  Call(Kernels().gated_sum_grad, p);
}

void RunRotate(const Arguments& a) {
  const auto& n = a.record.sizes;
  const auto dtype = static_cast<DType>(n.at(3));
  Call(Kernels().rotate, {a.In<void>(0), a.In<float>(1), a.In<float>(2), a.Out<void>(0), n.at(0), n.at(1),
                          n.at(2), max_threads, dtype});
}

void RunSum(const Arguments& a) {
  const auto& n = a.record.sizes;
  SumParams p{};
  for (p.terms = 0; p.terms < n.at(3); ++p.terms) p.term[p.terms] = a.In<void>(p.terms);
  p.output = a.Out<void>(0);
  p.rows = n.at(0);
  p.width = n.at(1);
  p.max_threads = max_threads;
  p.dtype = static_cast<DType>(n.at(2));
  Call(Kernels().sum, p);
}

void RunProduct(const Arguments& a) {
  const auto& n = a.record.sizes;
  Call(Kernels().matrix_product, {a.In<void>(0), a.In<void>(1), a.Out<void>(0), n.at(0), n.at(1), n.at(2),
                                  static_cast<ProductOf>(n.at(4)), max_threads, static_cast<DType>(n.at(3))});
}

void RunCast(const Arguments& a) {
  const auto& n = a.record.sizes;
  Call(Kernels().cast,
       {a.In<void>(0), a.Out<void>(0), n.at(0), n.at(1), max_threads, static_cast<DType>(n.at(2))});
}

void RunRecord(const Record& record, Placement placement, std::ostream& out) {
  const Arguments arguments(record, placement);
  switch (record.op) {
    case kSelect:
      RunSelect(arguments);
      break;
    case kSelectGrad:
      RunSelectGrad(arguments);
      break;
    case kPaged:
      RunPaged(arguments);
      break;
    case kCompress:
      RunCompress(arguments);
      break;
    case kCompressGrad:
      RunCompressGrad(arguments);
      break;
    case kPagedCompress:
      RunPagedCompress(arguments);
      break;
    case kCompressAttention:
      RunCompressAttention(arguments);
      break;
    case kGatedSum:
      RunGatedSum(arguments);
      break;
    case kGatedSumGrad:
      RunGatedSumGrad(arguments);
      break;
    case kRotate:
      RunRotate(arguments);
      break;
    case kSum:
      RunSum(arguments);
      break;
    case kProduct:
      RunProduct(arguments);
      break;
    case kCast:
      RunCast(arguments);
      break;
    default:
      throw std::runtime_error("unknown operator in the case file");
  }
  for (const GuardedBuffer& buffer : arguments.outputs) {
    out.write(static_cast<const char*>(buffer.data()), static_cast<std::streamsize>(buffer.bytes()));
  }
}

void RunFile(const std::string& threads, const std::string& in_path, const std::string& out_path) {
  std::vector<int> counts;
  std::istringstream list(threads);
  for (std::string count; std::getline(list, count, ',');) counts.push_back(std::stoi(count));
  std::ifstream in(in_path, std::ios::binary);
  std::ofstream out(out_path, std::ios::binary);
  while (in.peek() != std::ifstream::traits_type::eof()) {
    const Record record = ReadRecord(in);
    for (size_t i = 0; i < counts.size(); ++i) {
      omp_set_num_threads(counts[i]);
      RunRecord(record, i % 2 == 0 ? Placement::kAtEnd : Placement::kAtStart, out);
    }
  }
  if (!out.flush()) throw std::runtime_error("cannot write " + out_path);
}

std::vector<Record> ReadRecords(const std::string& path) {
  std::vector<Record> records;
  for (std::ifstream in(path, std::ios::binary); in.peek() != std::ifstream::traits_type::eof();)
    records.push_back(ReadRecord(in));
  return records;
}

void RunTogether(int repeats, const std::string& in_path, const std::string& out_path) {
  const std::vector<Record> records = ReadRecords(in_path);
  std::vector<std::ostringstream> outputs(records.size());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < records.size(); ++i) {
    threads.emplace_back([&, i] {
      for (int repeat = 0; repeat < repeats; ++repeat) RunRecord(records[i], Placement::kAtEnd, outputs[i]);
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::ofstream out(out_path, std::ios::binary);
  for (const std::ostringstream& output : outputs) out << output.str();
  if (!out.flush()) throw std::runtime_error("cannot write " + out_path);
}

void RunJoined(int repeats, const std::string& in_path, const std::string& out_path) {
  max_threads = 1;
  omp_set_num_threads(2);
  std::atomic<bool> ended{false};
  int joined = 0;
  std::thread other([&] {
    while (!ended) joined += TakeWork();
  });
  std::ofstream out(out_path, std::ios::binary);
  for (const Record& record : ReadRecords(in_path)) {
    for (int repeat = 0; repeat < repeats; ++repeat) RunRecord(record, Placement::kAtEnd, out);
  }
  ended = true;
  other.join();
  std::printf("%d\n", joined);
  if (!out.flush()) throw std::runtime_error("cannot write " + out_path);
}

int Main(int argc, char** argv) {
  if (argc == 2 && std::string(argv[1]) == "--isas") {
    for (const std::string& isa : SupportedIsas()) std::printf("%s\n", isa.c_str());
    return 0;
  }
  if (argc != 5)
    throw std::runtime_error(
        "usage: kernel_runner --isas | ISA THREADS IN OUT | --together|--joined REPEATS IN OUT");
  mallopt(M_PERTURB, 1);  // scratch memory starts as 0xfe bytes: huge or NaN as any type
  if (std::string(argv[1]) == "--together") {
    RunTogether(std::stoi(argv[2]), argv[3], argv[4]);
    return 0;
  }
  if (std::string(argv[1]) == "--joined") {
    RunJoined(std::stoi(argv[2]), argv[3], argv[4]);
    return 0;
  }
  SelectIsa(argv[1]);
  RunFile(argv[2], argv[3], argv[4]);
  return 0;
}

}  // namespace
}  // namespace ms_nsa

int main(int argc, char** argv) {
  try {
    return ms_nsa::Main(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
