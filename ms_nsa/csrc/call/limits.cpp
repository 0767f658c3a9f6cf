// SPDX-License-Identifier: Apache-2.0
#include "limits.h"

#include <cctype>
#include <sstream>

#include "errors.h"
#include "extents.h"

namespace ms_nsa {
namespace {

struct Operand {
  std::string text;
  int64_t value;
};

// One rule of an operator's limits.
class Rule {
 public:
  Rule(const char* op, const std::string& text, const Quantities& quantities)
      : op_(op), text_(text), quantities_(quantities) {}

  void Check() const {
    std::istringstream words(text_);
    std::string name, relation;
    words >> name >> relation;
    const int64_t value = Find(name);
    std::vector<Operand> operands;
    bool known = value != kUnknown;
    for (std::string word; words >> word;) {
      operands.push_back(Resolve(word));
      known = known && operands.back().value != kUnknown;
    }
    if (operands.empty()) Refuse("operands", "none");
    const bool holds = Holds(relation, operands, value);  // refuses an unknown relation in any case
    if (!known || holds) return;
    Fail(op_, name, Sentence(relation, operands) + " within the limits asked for", Join(value));
  }

 private:
  [[noreturn]] void Refuse(const char* what, const std::string& got) const {
    Fail(op_, "limits", Join("name known ", what, " in \"", text_, "\""), got);
  }

  int64_t Find(const std::string& name) const {
    for (const auto& [known, value] : quantities_) {
      if (name == known) return value;
    }
    Refuse("quantities", name);
  }

  // A number, or the name of another quantity.
  Operand Resolve(const std::string& word) const {
    if (std::isdigit(static_cast<unsigned char>(word[0]))) return {word, std::stoll(word)};
    const int64_t value = Find(word);
    return {Join(word, " (", value, ")"), value};
  }

  bool Holds(const std::string& relation, const std::vector<Operand>& operands, int64_t value) const {
    const int64_t first = operands[0].value;
    if (relation == "max") return value <= first;
    if (relation == "min") return value >= first;
    if (relation == "multiple") return first != 0 && value % first == 0;
    if (relation != "in") Refuse("relations", relation);
    for (const Operand& operand : operands) {
      if (value == operand.value) return true;
    }
    return false;
  }

  static std::string Sentence(const std::string& relation, const std::vector<Operand>& operands) {
    if (relation == "max") return "be at most " + operands[0].text;
    if (relation == "min") return "be at least " + operands[0].text;
    if (relation == "multiple") return "be a multiple of " + operands[0].text;
    std::string list;
    for (const Operand& operand : operands) list += (list.empty() ? "" : " or ") + operand.text;
    return "be " + list;
  }

  const char* op_;
  const std::string& text_;
  const Quantities& quantities_;
};

}  // namespace

void CheckLimits(const char* op, const std::string& limits, const Quantities& quantities) {
  std::istringstream rules(limits);
  for (std::string rule; std::getline(rules, rule, ';');) Rule(op, rule, quantities).Check();
}

}  // namespace ms_nsa
