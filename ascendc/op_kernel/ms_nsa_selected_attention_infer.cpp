// Entry of MsNsaSelectedAttentionInfer: selected attention over a paged kv cache.
#include "infer_cube.h"
#include "infer_vector.h"
#include "kernel_operator.h"

extern "C" __global__ __aicore__ void ms_nsa_selected_attention_infer(
    GM_ADDR query, GM_ADDR key, GM_ADDR value, GM_ADDR topk_indices, GM_ADDR atten_mask, GM_ADDR block_table,
    GM_ADDR actual_seq_qlen, GM_ADDR actual_seq_kvlen, GM_ADDR attention_out, GM_ADDR workspace,
    GM_ADDR tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIC_1_2);
  REGISTER_TILING_DEFAULT(ms_nsa::InferParams);
  GET_TILING_DATA(params, tiling);
  const ms_nsa::InferAddresses gm{query,           key,
                                  value,           topk_indices,
                                  atten_mask,      block_table,
                                  actual_seq_qlen, actual_seq_kvlen,
                                  attention_out,   AscendC::GetUserWorkspace(workspace)};
  AscendC::TPipe pipe;
  if ASCEND_IS_AIC {
    ms_nsa::InferCube<DTYPE_QUERY>(params, gm, pipe).Run();
  }
  if ASCEND_IS_AIV {
    ms_nsa::InferVector<DTYPE_QUERY>(params, gm, pipe).Run();
  }
}
