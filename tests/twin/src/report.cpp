// SPDX-License-Identifier: Apache-2.0
#include "report.h"

#include <cstdio>
#include <sstream>

namespace twin {

const char* RuleName(Rule rule) {
  static const char* const names[] = {
      "capacity",       "alignment",  "range",    "repeat",     "bounds",     "uninitialised",
      "use_after_free", "queue",      "type",     "position",   "core",       "hazard_raw",
      "hazard_war",     "hazard_waw", "scalar",   "gm_race",    "stale_read", "dirty_line",
      "flag",           "flag_pair",  "event_id", "cross_flag", "deadlock",   "block_dim",
      "atomic",         "unit_flag",  "mask",     "overlap",    "task_type",  "unsupported"};
  static_assert(sizeof(names) / sizeof(names[0]) == static_cast<size_t>(Rule::kCount), "one name per rule");
  return names[static_cast<int>(rule)];
}

const char* MemName(Mem mem) {
  static const char* const names[] = {"UB", "L1", "L0A", "L0B", "L0C", "BT", "FB", "GM"};
  return names[static_cast<int>(mem)];
}

const char* PipeName(Pipe pipe) {
  static const char* const names[] = {"S", "V", "M", "MTE1", "MTE2", "MTE3", "FIX", "ALL"};
  return names[static_cast<int>(pipe)];
}

void ReportList::Add(Report report) {
  const Key key{report.rule, report.where.site.file, report.where.site.line,
                report.has_other ? report.other.site.file : "",
                report.has_other ? report.other.site.line : 0};
  auto found = index_.find(key);
  if (found != index_.end()) {
    ++reports_[found->second].count;
    return;
  }
  if (reports_.size() >= limit_) {
    ++dropped_;
    return;
  }
  index_[key] = reports_.size();
  reports_.push_back(std::move(report));
}

std::string JsonString(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char code[8];
      std::snprintf(code, sizeof(code), "\\u%04x", c);
      out += code;
    } else {
      out += c;
    }
  }
  return out + "\"";
}

namespace {

void PutInstr(std::ostringstream& out, const InstrId& id) {
  out << "\"core\":" << JsonString(id.core) << ",\"pipe\":\"" << PipeName(id.pipe)
      << "\",\"index\":" << id.index << ",\"api\":" << JsonString(id.api)
      << ",\"file\":" << JsonString(id.site.file) << ",\"line\":" << id.site.line;
}

void PutReport(std::ostringstream& out, const Report& r, const std::string& kernel) {
  out << "{\"rule\":\"" << RuleName(r.rule) << "\",\"kernel\":" << JsonString(kernel) << ",";
  PutInstr(out, r.where);
  out << ",\"message\":" << JsonString(r.message) << ",\"count\":" << r.count;
  if (r.has_bytes) {
    out << ",\"memory\":\"" << MemName(r.mem) << "\",\"begin\":" << r.begin << ",\"end\":" << r.end
        << ",\"buffer\":" << JsonString(r.buffer);
  }
  if (r.has_other) {
    out << ",\"other\":{";
    PutInstr(out, r.other);
    out << "}";
  }
  out << "}";
}

}  // namespace

std::string ReportList::Json(const std::string& kernel) const {
  std::ostringstream out;
  out << "{\"dropped\":" << dropped_ << ",\"reports\":[";
  for (size_t i = 0; i < reports_.size(); ++i) {
    if (i) out << ",";
    PutReport(out, reports_[i], kernel);
  }
  out << "]}";
  return out.str();
}

}  // namespace twin
