// SPDX-License-Identifier: Apache-2.0
// MindSpore's binary interface of an ahead-of-time custom operator. The wheel ships no header for it; the
// order of the virtual functions is the interface, and strings use the old ABI (-D_GLIBCXX_USE_CXX11_ABI=0).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

class AotKernelData {
 public:
  AotKernelData() = default;
  virtual ~AotKernelData() = default;
};

class AotExtra {
 public:
  AotExtra() = default;
  virtual ~AotExtra() = default;
  virtual bool HasAttr(std::string name) = 0;
  virtual bool GetAttrBool(std::string name) = 0;
  virtual int64_t GetAttrInt(std::string name) = 0;
  virtual float GetAttrFloat(std::string name) = 0;
  virtual std::string GetAttrStr(std::string name) = 0;
  virtual std::vector<int64_t> GetAttrIntVec(std::string name) = 0;
  virtual std::vector<float> GetAttrFloatVec(std::string name) = 0;
  virtual std::vector<std::vector<int64_t>> GetAttrInt2DVec(std::string name) = 0;
  virtual std::vector<std::vector<float>> GetAttrFloat2DVec(std::string name) = 0;

  AotKernelData* kernel_data() const { return kernel_data_; }
  void set_kernel_data(AotKernelData* data) { kernel_data_ = data; }  // MindSpore deletes it with the kernel

 private:
  std::vector<size_t> workspace_;
  AotKernelData* kernel_data_{nullptr};
};
