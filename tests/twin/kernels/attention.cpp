// SPDX-License-Identifier: Apache-2.0
// out = softmax(scale Q K^T) V over grouped query heads: query [tokens, heads, 192], key [keys, kv_heads,
// 192], value [keys, kv_heads, 128]. The cube multiplies, the vector cores keep an online softmax; tiles go
// through rings in workspace.
#include "attention_cube.h"
#include "attention_vector.h"

extern "C" __global__ __aicore__ void attention(GM_ADDR query, GM_ADDR key, GM_ADDR value, GM_ADDR out,
                                                GM_ADDR workspace, GM_ADDR tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIC_1_2);
  GET_TILING_DATA_WITH_STRUCT(AttentionTiling, data, tiling);
  GM_ADDR user = AscendC::GetUserWorkspace(workspace);
  if ASCEND_IS_AIC {
    AttentionCube part;
    part.Run(query, key, value, user, data);
  }
  if ASCEND_IS_AIV {
    AttentionVector part;
    part.Run(out, user, data);
  }
}
