// SPDX-License-Identifier: Apache-2.0
// Kernel type declaration and tiling access.
#pragma once

#include <cstring>

#include "twin/macros.h"

namespace twin {

template <class T>
void CopyTiling(T& out, const void* tiling, Site site) {
  std::memcpy(&out, TilingBytes(tiling, sizeof(T), site), sizeof(T));
}

}  // namespace twin

#define KERNEL_TYPE_AIV_ONLY 0
#define KERNEL_TYPE_AIC_ONLY 1
#define KERNEL_TYPE_MIX_AIC_1_2 2
#define KERNEL_TYPE_MIX_AIC_1_1 3
#define KERNEL_TYPE_MIX_AIV_1_0 4
#define KERNEL_TYPE_MIX_AIC_1_0 5

#define KERNEL_TASK_TYPE_DEFAULT(value) twin::DeclareTaskType(value, twin::Site::Here())
#define KERNEL_TASK_TYPE(key, value) \
  if (TILING_KEY_IS(key)) twin::DeclareTaskType(value, twin::Site::Here())

#define TILING_KEY_IS(k) (twin::TilingKey() == static_cast<uint64_t>(k))
#define REGISTER_TILING_DEFAULT(tiling_struct) using TwinDefaultTiling = tiling_struct
#define GET_TILING_DATA(tiling_data, tiling_arg) \
  TwinDefaultTiling tiling_data;                 \
  twin::CopyTiling(tiling_data, tiling_arg, twin::Site::Here())
#define GET_TILING_DATA_WITH_STRUCT(tiling_struct, tiling_data, tiling_arg) \
  tiling_struct tiling_data;                                                \
  twin::CopyTiling(tiling_data, tiling_arg, twin::Site::Here())
#define GET_TILING_DATA_MEMBER(tiling_struct, member, var, tiling_arg) \
  decltype(((tiling_struct*)nullptr)->member) var;                     \
  {                                                                    \
    tiling_struct twin_whole;                                          \
    twin::CopyTiling(twin_whole, tiling_arg, twin::Site::Here());      \
    var = twin_whole.member;                                           \
  }
