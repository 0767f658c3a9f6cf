// SPDX-License-Identifier: Apache-2.0
// Usage: load_library LIBRARY
// Loads the library of a wheel without Python and MindSpore, prints its report and what it says of a wrong
// call.
#include <dlfcn.h>

#include <cstdint>
#include <cstdio>

namespace {

constexpr int kBytes = 1024, kInputs = 7;

template <typename Function>
Function* Find(void* library, const char* name) {
  auto* function = reinterpret_cast<Function*>(dlsym(library, name));
  if (function == nullptr) std::fprintf(stderr, "%s\n", dlerror());
  return function;
}

}  // namespace

int main(int argc, char** argv) {
  void* library = argc == 2 ? dlopen(argv[1], RTLD_NOW) : nullptr;
  if (library == nullptr) return std::fprintf(stderr, "%s\n", dlerror()), 1;
  auto* set_threads = Find<void(int)>(library, "MsNsaSetThreads");
  auto* report = Find<int(char*, int)>(library, "MsNsaReport");
  using Check = int(const char*, const char*, int, const int*, const int64_t*, int64_t*, int64_t, char*, int);
  auto* check = Find<Check>(library, "MsNsaCheckShapes");
  if (set_threads == nullptr || report == nullptr || check == nullptr) return 1;
  char text[kBytes];
  set_threads(3);
  if (report(text, kBytes) != 0) return 1;
  std::printf("%s\n", text);
  const int ranks[kInputs] = {2};
  const int64_t extents[] = {1, 1};
  int64_t out[kBytes];
  if (check("NsaSelectAttention", "head_num=1\nselect_block_size=1\nselect_block_count=1", kInputs, ranks,
            extents, out, kBytes, text, kBytes) == 0)
    return 1;
  std::printf("%s\n", text);
  return 0;
}
