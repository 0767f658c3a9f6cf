// SPDX-License-Identifier: Apache-2.0
// The interface for Python: C functions called through ctypes. They check arguments before a call and report
// what this machine supports.
#include <omp.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <map>
#include <sstream>

#include "../call/operator.h"
#include "../dispatch.h"
#include "../runtime/progress.h"
#include "../runtime/thread_number.h"
#include "export.h"
#include "op_info.h"

namespace ms_nsa {
namespace {

// Attributes as checks.py writes them: "name=value" lines. Missing attributes are 0 or empty.
class LineAttributes : public AttributeSource {
 public:
  explicit LineAttributes(const char* text) {
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
      const size_t at = line.find('=');
      values_[line.substr(0, at)] = line.substr(at + 1);
    }
  }

  int64_t Int(const char* name) const override {
    const std::string value = String(name);
    return value.empty() ? 0 : std::stoll(value);
  }

  float Float(const char* name) const override {
    const std::string value = String(name);
    return value.empty() ? 0 : std::stof(value);
  }

  std::string String(const char* name) const override {
    const auto found = values_.find(name);
    return found == values_.end() ? "" : found->second;
  }

 private:
  std::map<std::string, std::string> values_;
};

// Writes the output shapes to `out`, each preceded by its rank, if they fit.
void Flatten(const Shapes& shapes, int64_t* out, int64_t capacity) {
  int64_t needed = 0;
  for (const Shape& shape : shapes) needed += 1 + static_cast<int64_t>(shape.size());
  if (needed > capacity)
    Fail("ms_nsa", "output shapes", Join("fit into ", capacity, " numbers"), Join(needed));
  for (const Shape& shape : shapes) {
    *out++ = static_cast<int64_t>(shape.size());
    out = std::copy(shape.begin(), shape.end(), out);
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

// Functions with a `message` return 0, or 1 and write the error message to it.

// On success writes the output shapes, each preceded by its rank, to `out`, which holds `capacity` numbers.
MS_NSA_EXPORT int MsNsaCheckShapes(const char* op, const char* attributes, int count, const int* ndims,
                                   const int64_t* extents, int64_t* out, int64_t capacity, char* message,
                                   int size) {
  const auto check = [&] {
    std::vector<ms_nsa::Tensor> in(count);
    const int64_t* next = extents;
    for (int i = 0; i < count; next += ndims[i++]) in[i].shape.assign(next, next + ndims[i]);
    const ms_nsa::LineAttributes given(attributes);
    ms_nsa::Flatten(ms_nsa::FindOperator(op).check_shapes(given, std::move(in)), out, capacity);
  };
  return Guard(check, message, size);
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

// What Python's thread does during a call with this amount of work: 0 continues, 1 helps, 2 sleeps; -1 for an
// unknown operator.
MS_NSA_EXPORT int MsNsaWaiting(const char* op, int64_t work) {
  for (const ms_nsa::OperatorInfo& found : ms_nsa::Operators()) {
    if (std::strcmp(op, found.name) == 0) return static_cast<int>(ms_nsa::WaitingFor(work, found.work_kind));
  }
  return -1;
}
