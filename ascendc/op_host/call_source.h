// SPDX-License-Identifier: Apache-2.0
// Where the inputs and attributes of a call come from, by their places in the registration, whether earlier
// optional ones are there or not; and what the structs of op_info (op_info.h) are filled and checked with.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <string>

#include "errors.h"
#include "tensor.h"

namespace ms_nsa {

class CallSource {
 public:
  virtual ~CallSource() = default;
  virtual Tensor Input(size_t place) const = 0;  // absent as a Tensor is by itself
  virtual int64_t Int(size_t place) const = 0;
  virtual float Float(size_t place) const = 0;
};

// An attribute that is a text elsewhere comes as the place of its value among the choices.
inline std::string ChoiceOf(const char* op, const char* name, int64_t got,
                            std::initializer_list<const char*> choices) {
  if (got >= 0 && got < static_cast<int64_t>(choices.size())) return choices.begin()[got];
  std::string list;
  for (size_t i = 0; i < choices.size(); ++i) {
    list += Join(i == 0 ? "" : i + 1 == choices.size() ? " or " : ", ", i, " (", choices.begin()[i], ")");
  }
  Fail(op, name, "be " + list, Join(got));
}

inline void CheckNumber(const char* op, const char* name, int64_t got,
                        std::initializer_list<int64_t> numbers) {
  if (std::find(numbers.begin(), numbers.end(), got) != numbers.end()) return;
  std::string list;
  for (size_t i = 0; i < numbers.size(); ++i) {
    list += Join(i == 0 ? "" : i + 1 == numbers.size() ? " or " : ", ", numbers.begin()[i]);
  }
  Fail(op, name, "be " + list, Join(got));
}

inline void CheckGiven(const char* op, const char* name, const Tensor& tensor) {
  if (tensor.absent()) Fail(op, name, "be given", "nothing");
}

}  // namespace ms_nsa
