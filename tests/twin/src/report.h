// SPDX-License-Identifier: Apache-2.0
// What a broken rule says, and the list that collects it for one launch.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "twin/abi.h"

namespace twin {

const char* RuleName(Rule rule);
const char* MemName(Mem mem);
const char* PipeName(Pipe pipe);

// Names one executed instruction; index counts the instructions of its core.
struct InstrId {
  std::string core;
  Pipe pipe = Pipe::kS;
  uint64_t index = 0;
  const char* api = "";
  Site site;
};

struct Report {
  Rule rule = Rule::kRange;
  InstrId where;
  std::string message;
  bool has_other = false;
  InstrId other;
  bool has_bytes = false;
  Mem mem = Mem::kUb;
  uint64_t begin = 0, end = 0;
  std::string buffer;
  uint64_t count = 1;
};

class ReportList {
 public:
  explicit ReportList(size_t limit) : limit_(limit) {}
  // The same rule at the same place (and against the same place) is counted, not repeated.
  void Add(Report report);
  bool empty() const { return reports_.empty(); }
  std::string Json(const std::string& kernel) const;

 private:
  using Key = std::tuple<Rule, const char*, int, const char*, int>;
  size_t limit_;
  uint64_t dropped_ = 0;
  std::vector<Report> reports_;
  std::map<Key, size_t> index_;
};

std::string JsonString(const std::string& text);

}  // namespace twin
