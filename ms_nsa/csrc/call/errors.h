// SPDX-License-Identifier: Apache-2.0
// One message format for every argument rule: "<operator>: <argument> must <rule>, got <value>".
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace ms_nsa {

class ArgumentError : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

// C++11, like every file of this folder that ascendc/op_host includes.
template <typename... Parts>
std::string Join(const Parts&... parts) {
  std::ostringstream out(std::ios_base::out);  // GCC 8's library has no constructor without arguments
  const int in_order[] = {0, ((out << parts), 0)...};
  (void)in_order;
  return out.str();
}

[[noreturn]] inline void Fail(const std::string& op, const std::string& argument, const std::string& rule,
                              const std::string& value) {
  throw ArgumentError(Join(op, ": ", argument, " must ", rule, ", got ", value));
}

}  // namespace ms_nsa
