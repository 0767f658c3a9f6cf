// SPDX-License-Identifier: Apache-2.0
// Where the attributes of a call come from: MindSpore's primitive, or the lines that Python writes.
#pragma once

#include <cstdint>
#include <string>

namespace ms_nsa {

class AttributeSource {
 public:
  virtual ~AttributeSource() = default;
  virtual int64_t Int(const char* name) const = 0;
  virtual float Float(const char* name) const = 0;
  virtual std::string String(const char* name) const = 0;
};

}  // namespace ms_nsa
