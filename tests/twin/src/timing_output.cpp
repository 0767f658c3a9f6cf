// SPDX-License-Identifier: Apache-2.0
// The modelled times as JSON and as Chrome trace events (which Perfetto opens).
#include <cstdio>
#include <map>
#include <sstream>

#include "timing.h"

namespace twin {

namespace {

const char* PathName(Path p) {
  static const char* const names[] = {"none",   "scalar",  "GM->UB",  "GM->L1",         "GM->L0",
                                      "UB->GM", "UB->UB",  "L1->L0A", "L1->L0B",        "L1->BT",
                                      "L1->FB", "L1 fill", "L0 fill", "L0C->GM",        "L0C->L1",
                                      "L1->GM", "vector",  "cube",    "L1->L0A load3d", "L1->L0B load3d"};
  return names[static_cast<int>(p)];
}

const char* OpName(const TraceOp& op) {
  switch (op.op) {
    case Op::kWaitFlag:
      return "WaitFlag";
    case Op::kBarrier:
      return "PipeBarrier<PIPE_ALL>";
    case Op::kCrossWait:
      return "CrossCoreWaitFlag";
    case Op::kSyncAll:
      return "SyncAll";
    default:
      return op.api;
  }
}

std::string Number(double v) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.1f", v);
  return text;
}

std::string Share(double part, double whole) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.4f", whole > 0 ? part / whole : 0);
  return text;
}

using PathBytes = std::map<Path, uint64_t>;

std::string BytesJson(const PathBytes& bytes) {
  std::string out;
  for (const auto& b : bytes) {
    if (b.second == 0) continue;
    out += (out.empty() ? "{\"" : ",\"") + std::string(PathName(b.first)) + "\":" + std::to_string(b.second);
  }
  return out.empty() ? "{}" : out + "}";
}

std::string PipesJson(const Core& core, const CoreTimeline& t, double whole) {
  std::string out;
  for (int p = 0; p < kPipes; ++p) {
    if (!core.HasPipe(static_cast<Pipe>(p))) continue;
    out += (out.empty() ? "{\"" : ",\"") + std::string(PipeName(static_cast<Pipe>(p))) +
           "\":" + (whole > 0 ? Share(t.busy[p], whole) : Number(t.busy[p]));
  }
  return out + "}";
}

// Arithmetic cycles of the cube or vector cores over the whole launch.
std::string Utilisation(Machine& machine, const Timeline& timeline, bool cube) {
  double work = 0, cores = 0;
  for (size_t c = 0; c < timeline.cores.size(); ++c) {
    if (machine.cores()[c]->cube != cube) continue;
    work += timeline.cores[c].arithmetic;
    ++cores;
  }
  return Share(work, cores * timeline.end);
}

std::string CoreJson(const Core& core, const CoreTimeline& t, const PathBytes& bytes) {
  return "{\"core\":" + JsonString(core.Name()) + ",\"modelled_cycles\":" + Number(t.end) +
         ",\"instructions\":" + std::to_string(core.instructions) + ",\"busy\":" + PipesJson(core, t, 0) +
         ",\"busy_share\":" + PipesJson(core, t, t.end) + ",\"utilisation\":" + Share(t.arithmetic, t.end) +
         ",\"bytes\":" + BytesJson(bytes) + "}";
}

// Times in microseconds, as the format wants them.
class TraceWriter {
 public:
  explicit TraceWriter(double clock_ghz) : us_(1e-3 / clock_ghz) {}

  void Meta(const char* name, size_t process, int thread, const std::string& value) {
    Next() << "{\"ph\":\"M\",\"name\":\"" << name << "\",\"pid\":" << process << ",\"tid\":" << thread
           << ",\"ts\":0,\"args\":{\"name\":" << JsonString(value) << "}}";
  }

  void Slice(size_t process, const Span& s) {
    const bool waits = s.op->op != Op::kInstr;
    char times[80];
    std::snprintf(times, sizeof(times), "\"ts\":%.5f,\"dur\":%.5f", s.begin * us_, (s.end - s.begin) * us_);
    Next() << "{\"ph\":\"X\",\"name\":" << JsonString(OpName(*s.op)) << ",\"cat\":\""
           << (waits ? "wait" : PathName(s.op->cost.path)) << "\",\"pid\":" << process
           << ",\"tid\":" << (waits ? 0 : static_cast<int>(s.op->pipe)) << "," << times
           << ",\"args\":{\"line\":" << s.op->site.line << ",\"path\":\"" << PathName(s.op->cost.path)
           << "\",\"bytes\":" << s.op->cost.bytes << "}}";
  }

  std::string Finish(const std::string& summary) {
    return "{\"displayTimeUnit\":\"ns\",\"otherData\":{\"modelled\":" + summary + "},\"traceEvents\":[" +
           out_.str() + "]}";
  }

 private:
  std::ostringstream& Next() {
    if (!first_) out_ << ",\n";
    first_ = false;
    return out_;
  }
  double us_;
  bool first_ = true;
  std::ostringstream out_;
};

}  // namespace

std::string TimingJson(Machine& machine, const Timeline& timeline) {
  PathBytes total;
  std::string cores;
  for (size_t c = 0; c < timeline.cores.size(); ++c) {
    PathBytes bytes;
    for (const Span& s : timeline.cores[c].spans) bytes[s.op->cost.path] += s.op->cost.bytes;
    for (const auto& b : bytes) total[b.first] += b.second;
    cores += (c ? "," : "") + CoreJson(*machine.cores()[c], timeline.cores[c], bytes);
  }
  return "{\"modelled_cycles\":" + Number(timeline.end) +
         ",\"modelled_us\":" + Share(timeline.end / timeline.table.clock_ghz, 1e3) +
         ",\"modelled_start_us\":" + Number(timeline.start_us) +
         ",\"clock_ghz\":" + Share(timeline.table.clock_ghz, 1) +
         ",\"cube_utilisation\":" + Utilisation(machine, timeline, true) +
         ",\"vector_utilisation\":" + Utilisation(machine, timeline, false) +
         ",\"bytes\":" + BytesJson(total) + ",\"hbm_bytes\":" + Number(timeline.hbm_bytes) +
         ",\"l2_hit_bytes\":" + Number(timeline.l2_hit_bytes) + ",\"cores\":[" + cores +
         "],\"figures\":" + FiguresJson(timeline.table) + "}";
}

std::string ChromeTrace(Machine& machine, const Timeline& timeline) {
  TraceWriter out(timeline.table.clock_ghz);
  for (size_t c = 0; c < timeline.cores.size(); ++c) {
    const Core& core = *machine.cores()[c];
    out.Meta("process_name", c, 0, core.Name() + " (modelled)");
    for (int p = 0; p < kPipes; ++p) {
      if (core.HasPipe(static_cast<Pipe>(p))) out.Meta("thread_name", c, p, PipeName(static_cast<Pipe>(p)));
    }
    for (const Span& s : timeline.cores[c].spans) out.Slice(c, s);
  }
  return out.Finish(TimingJson(machine, timeline));
}

}  // namespace twin
