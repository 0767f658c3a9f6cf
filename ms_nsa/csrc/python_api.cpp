// SPDX-License-Identifier: Apache-2.0
// The C functions that Python calls through ctypes: the argument check before a call, and what this machine
// runs.
#include <omp.h>

#include <cstdio>
#include <cstring>
#include <sstream>

#include "arguments.h"
#include "dispatch.h"
#include "errors.h"
#include "progress.h"
#include "short_calls.h"
#include "thread_number.h"

#define MS_NSA_EXPORT extern "C" __attribute__((visibility("default")))

namespace ms_nsa {
namespace {

// Attributes as checks.py writes them: "name=value" lines.
Attributes ParseAttributes(const char* text) {
  Attributes a;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const size_t at = line.find('=');
    const std::string name = line.substr(0, at), value = line.substr(at + 1);
    if (name == "layout") a.layout = value;
    if (name == "limits") a.limits = value;
    if (name == "head_num") a.head_num = std::stoll(value);
    if (name == "key_value_head_num") a.key_value_head_num = std::stoll(value);
    if (name == "select_block_size") a.select_block_size = std::stoll(value);
    if (name == "select_block_count") a.select_block_count = std::stoll(value);
    if (name == "page_block_size") a.page_block_size = std::stoll(value);
    if (name == "return_softmax_lse") a.return_softmax_lse = std::stoll(value) != 0;
  }
  return a;
}

// The output shapes one after another, each led by its rank.
void Flatten(const Shapes& shapes, int64_t* out) {
  for (const auto& shape : shapes) {
    *out++ = static_cast<int64_t>(shape.size());
    for (int64_t extent : shape) *out++ = extent;
  }
}

void Copy(const std::string& text, char* buffer, int size) {
  std::snprintf(buffer, size, "%s", text.c_str());
}

template <typename Action>
int Guard(const Action& action, char* message, int size) {
  try {
    action();
    return 0;
  } catch (const std::exception& error) {
    Copy(error.what(), message, size);
    return 1;
  }
}

}  // namespace
}  // namespace ms_nsa

using ms_nsa::Guard;

// Those with a `message` return 0, or 1 with the error's sentence in it.

// On success `out` holds the output shapes, each led by its rank.
MS_NSA_EXPORT int MsNsaCheckShapes(const char* op, const char* attributes, int count, const int* ndims,
                                   const int64_t* extents, int64_t* out, char* message, int size) {
  std::vector<ms_nsa::Tensor> in(count);
  for (int i = 0; i < count; extents += ndims[i++]) in[i].shape.assign(extents, extents + ndims[i]);
  return Guard(
      [&] { ms_nsa::Flatten(ms_nsa::CheckShapes(op, ms_nsa::ParseAttributes(attributes), in), out); },
      message, size);
}

// "isa;supported,isas;threads;where their number is from;processors".
MS_NSA_EXPORT int MsNsaReport(char* text, int size) {
  const auto report = [&] {
    std::string supported;
    for (const std::string& isa : ms_nsa::SupportedIsas()) supported += (supported.empty() ? "" : ",") + isa;
    ms_nsa::Copy(ms_nsa::Join(ms_nsa::Kernels().isa, ";", supported, ";", ms_nsa::Threads(), ";",
                              ms_nsa::ThreadsSource(), ";", omp_get_num_procs()),
                 text, size);
  };
  return Guard(report, text, size);
}

MS_NSA_EXPORT int MsNsaSelectIsa(const char* isa, char* message, int size) {
  return Guard([&] { ms_nsa::SelectIsa(isa); }, message, size);
}

// The caller has checked the number.
MS_NSA_EXPORT void MsNsaSetThreads(int number) {
  ms_nsa::SetThreads(number);
}

MS_NSA_EXPORT void MsNsaUseProcessors() {
  ms_nsa::UseProcessors();
}

MS_NSA_EXPORT int64_t MsNsaEndedRuns() {
  return ms_nsa::EndedRuns();
}

MS_NSA_EXPORT void MsNsaAwaitRun(int64_t ended, int64_t patience_ms) {
  ms_nsa::AwaitRun(ended, patience_ms);
}

MS_NSA_EXPORT void MsNsaJoinRun(int64_t ended, int64_t patience_ms) {
  ms_nsa::JoinRun(ended, patience_ms);
}

MS_NSA_EXPORT int64_t MsNsaSharedItems(const char* op, int64_t group, int64_t rows) {
  return ms_nsa::SharedItems(op, group, rows);
}

MS_NSA_EXPORT int64_t MsNsaLongItems(const char* op, int64_t group, int64_t rows) {
  return ms_nsa::LongItems(op, group, rows);
}
