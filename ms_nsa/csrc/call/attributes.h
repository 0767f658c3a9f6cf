// SPDX-License-Identifier: Apache-2.0
// Sources of the attributes of a call: MindSpore's primitive, or lines of text from Python.
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
