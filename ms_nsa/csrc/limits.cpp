// SPDX-License-Identifier: Apache-2.0
#include "limits.h"

#include <cctype>
#include <sstream>

#include "errors.h"

namespace ms_nsa {
namespace {

struct Operand {
  std::string text;
  int64_t value;
};

const int64_t* Find(const Quantities& quantities, const std::string& name) {
  for (const auto& [known, value] : quantities) {
    if (known == name) return &value;
  }
  return nullptr;
}

// A number, or the name of another quantity; false when that quantity is not known here.
bool Resolve(const std::string& word, const Quantities& quantities, std::vector<Operand>* operands) {
  if (std::isdigit(static_cast<unsigned char>(word[0]))) {
    operands->push_back({word, std::stoll(word)});
    return true;
  }
  const int64_t* value = Find(quantities, word);
  if (value) operands->push_back({Join(word, " (", *value, ")"), *value});
  return value != nullptr;
}

bool Holds(const std::string& relation, const std::vector<Operand>& operands, int64_t value) {
  if (relation == "max") return value <= operands[0].value;
  if (relation == "multiple") return value % operands[0].value == 0;
  for (const Operand& operand : operands) {  // "in"
    if (value == operand.value) return true;
  }
  return false;
}

std::string Sentence(const std::string& relation, const std::vector<Operand>& operands) {
  if (relation == "max") return "be at most " + operands[0].text;
  if (relation == "multiple") return "be a multiple of " + operands[0].text;
  std::string list;
  for (const Operand& operand : operands) list += (list.empty() ? "" : " or ") + operand.text;
  return "be " + list;
}

void CheckRule(const std::string& op, const std::string& rule, const Quantities& quantities) {
  std::istringstream words(rule);
  std::string name, relation;
  words >> name >> relation;
  const int64_t* value = Find(quantities, name);
  std::vector<Operand> operands;
  for (std::string word; value && words >> word;) {
    if (!Resolve(word, quantities, &operands)) return;
  }
  if (!value || operands.empty() || Holds(relation, operands, *value)) return;
  Fail(op, name, Sentence(relation, operands) + " within the limits asked for", Join(*value));
}

}  // namespace

void CheckLimits(const std::string& op, const std::string& limits, const Quantities& quantities) {
  std::istringstream rules(limits);
  for (std::string rule; std::getline(rules, rule, ';');) CheckRule(op, rule, quantities);
}

}  // namespace ms_nsa
