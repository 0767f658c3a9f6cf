// SPDX-License-Identifier: Apache-2.0
// Calls the library's inference for the Ascend operators, all of several outputs, as MindSpore does. Compiled
// with the old string ABI, like the library.
#include <dlfcn.h>

#include <cstring>
#include <map>
#include <stdexcept>

#include "api/custom_aot.h"

namespace {

class Attributes : public AotExtra {
 public:
  bool HasAttr(std::string name) override { return numbers.count(name) || texts.count(name); }
  bool GetAttrBool(std::string name) override { return GetAttrInt(name) != 0; }
  int64_t GetAttrInt(std::string name) override { return static_cast<int64_t>(numbers.at(name)); }
  float GetAttrFloat(std::string name) override { return static_cast<float>(numbers.at(name)); }
  std::string GetAttrStr(std::string name) override { return texts.at(name); }
  std::vector<int64_t> GetAttrIntVec(std::string) override { return {}; }
  std::vector<float> GetAttrFloatVec(std::string) override { return {}; }
  std::vector<std::vector<int64_t>> GetAttrInt2DVec(std::string) override { return {}; }
  std::vector<std::vector<float>> GetAttrFloat2DVec(std::string) override { return {}; }

  std::map<std::string, double> numbers;
  std::map<std::string, std::string> texts;
};

using Shapes = std::vector<std::vector<int64_t>>;
enum TypeId : int {};
using TypeIds = std::vector<TypeId>;

void* Find(const char* library, const char* function) {
  void* loaded = dlopen(library, RTLD_NOW | RTLD_LOCAL);
  void* found = loaded ? dlsym(loaded, function) : nullptr;
  if (!found) throw std::runtime_error(dlerror());
  return found;
}

}  // namespace

extern "C" void* NewAttributes() {
  return new Attributes;
}

extern "C" void AddNumber(Attributes* attributes, const char* name, double value) {
  attributes->numbers[name] = value;
}

extern "C" void AddText(Attributes* attributes, const char* name, const char* value) {
  attributes->texts[name] = value;
}

// Output shapes one after another, each led by its rank; 1 with the error's sentence if there is one. Ends
// the attributes.
extern "C" int InferShapes(const char* library, const char* function, int* ndims, int64_t** shapes,
                           Attributes* attributes, int64_t* out, char* message, int size) {
  int failed = 0;
  try {
    void* found = Find(library, function);
    for (const auto& shape :
         reinterpret_cast<Shapes (*)(int*, int64_t**, AotExtra*)>(found)(ndims, shapes, attributes)) {
      *out++ = static_cast<int64_t>(shape.size());
      for (int64_t extent : shape) *out++ = extent;
    }
  } catch (const std::exception& error) {
    std::strncpy(message, error.what(), static_cast<size_t>(size) - 1);
    failed = 1;
  }
  delete attributes;
  return failed;
}

// Numbers of the output types for those of the inputs; returns how many there are.
extern "C" int InferTypes(const char* library, const char* function, int count, const int* in, int* out) {
  TypeIds types;
  for (int i = 0; i < count; ++i) types.push_back(static_cast<TypeId>(in[i]));
  const TypeIds found =
      reinterpret_cast<TypeIds (*)(TypeIds, AotExtra*)>(Find(library, function))(types, nullptr);
  for (TypeId type : found) *out++ = type;
  return static_cast<int>(found.size());
}
