// The modelled times as JSON and as Chrome trace events (which Perfetto opens).
#include <cstdio>
#include <map>
#include <sstream>

#include "timing.h"

namespace twin {

namespace {

const char* PathName(Path p) {
  static const char* const names[] = {"none",    "scalar",  "GM->UB",  "GM->L1", "GM->L0", "UB->GM",
                                      "UB->UB",  "L1->L0A", "L1->L0B", "L1->BT", "L1->FB", "L1 fill",
                                      "L0 fill", "L0C->GM", "L0C->L1", "vector", "cube",   "L1->L0 load3d"};
  return names[static_cast<int>(p)];
}

std::string Number(double v) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.1f", v);
  return text;
}

}  // namespace

std::string TimingJson(Machine& machine, const Timeline& timeline) {
  std::ostringstream out;
  out << "{\"modelled_cycles\":" << Number(timeline.end)
      << ",\"modelled_us\":" << Number(timeline.end / timeline.table.clock_ghz / 1e3)
      << ",\"clock_ghz\":" << timeline.table.clock_ghz << ",\"cores\":[";
  std::map<Path, uint64_t> bytes;
  for (size_t c = 0; c < timeline.cores.size(); ++c) {
    const CoreTimeline& t = timeline.cores[c];
    out << (c ? "," : "") << "{\"core\":" << JsonString(machine.cores()[c]->Name())
        << ",\"modelled_cycles\":" << Number(t.end)
        << ",\"instructions\":" << machine.cores()[c]->instructions << ",\"busy\":{";
    for (int p = 0; p < kPipes; ++p) {
      out << (p ? "," : "") << "\"" << PipeName(static_cast<Pipe>(p)) << "\":" << Number(t.busy[p]);
    }
    out << "}}";
    for (const Span& s : t.spans) bytes[s.op->cost.path] += s.op->cost.bytes;
  }
  out << "],\"bytes\":{";
  bool first = true;
  for (const auto& b : bytes) {
    if (b.second == 0) continue;
    out << (first ? "" : ",") << "\"" << PathName(b.first) << "\":" << b.second;
    first = false;
  }
  out << "}}";
  return out.str();
}

std::string ChromeTrace(Machine& machine, const Timeline& timeline) {
  std::ostringstream out;
  out << "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[";
  bool first = true;
  for (size_t c = 0; c < timeline.cores.size(); ++c) {
    out << (first ? "" : ",") << "{\"ph\":\"M\",\"name\":\"process_name\",\"pid\":" << c
        << ",\"args\":{\"name\":" << JsonString(machine.cores()[c]->Name() + " (modelled)") << "}}";
    first = false;
    for (int p = 0; p < kPipes; ++p) {
      if (!machine.cores()[c]->HasPipe(static_cast<Pipe>(p))) continue;
      out << ",{\"ph\":\"M\",\"name\":\"thread_name\",\"pid\":" << c << ",\"tid\":" << p
          << ",\"args\":{\"name\":\"" << PipeName(static_cast<Pipe>(p)) << "\"}}";
    }
    for (const Span& s : timeline.cores[c].spans) {
      const double us = 1e-3 / timeline.table.clock_ghz;
      char times[80];
      std::snprintf(times, sizeof(times), "\"ts\":%.4f,\"dur\":%.4f", s.begin * us, (s.end - s.begin) * us);
      out << ",{\"ph\":\"X\",\"name\":" << JsonString(s.op->api) << ",\"pid\":" << c
          << ",\"tid\":" << static_cast<int>(s.op->pipe) << "," << times
          << ",\"args\":{\"line\":" << s.op->site.line << ",\"path\":\"" << PathName(s.op->cost.path)
          << "\",\"bytes\":" << s.op->cost.bytes << "}}";
    }
  }
  out << "]}";
  return out.str();
}

}  // namespace twin
