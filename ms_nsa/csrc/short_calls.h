// SPDX-License-Identifier: Apache-2.0
// Short calls and long ones share the processors with MindSpore in different ways. While a call runs in
// PyNative mode, up to two of MindSpore's threads wait in busy loops: the one that queues calls and the one
// that reads results. A short call leaves them their processors, and Python prepares the next call meanwhile.
// During a long one Python sleeps (progress.h), and all processors work on it (long_call_team.h).
#pragma once

#include <cstdint>
#include <string>

namespace ms_nsa {

// Items, a token and a kv head each, from which on a call of the operator is long. An item's group of query
// heads meets so many key rows.
int64_t LongItems(const std::string& op, int64_t group, int64_t rows);

// Items from which on Python's thread joins a short call.
int64_t SharedItems(const std::string& op, int64_t group, int64_t rows);

// Most threads of a short call besides Python's.
int ShortCallThreads();

}  // namespace ms_nsa
