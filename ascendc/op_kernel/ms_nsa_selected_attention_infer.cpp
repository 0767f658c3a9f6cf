// SPDX-License-Identifier: Apache-2.0
// Entry of MsNsaSelectedAttentionInfer: selected attention over a paged kv cache.
// clang-format off: first, since aicore.h asks whether it has defined __aicore__
#include "kernel_operator.h"
// clang-format on

#include "attention_cube.h"
#include "attention_vector.h"
#include "error_report.h"

extern "C" __global__ __aicore__ void ms_nsa_selected_attention_infer(
    GM_ADDR query, GM_ADDR key, GM_ADDR value, GM_ADDR topk_indices, GM_ADDR atten_mask, GM_ADDR block_table,
    GM_ADDR actual_seq_qlen, GM_ADDR actual_seq_kvlen, GM_ADDR attention_out, GM_ADDR softmax_max,
    GM_ADDR softmax_sum, GM_ADDR first_error, GM_ADDR workspace, GM_ADDR tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIC_1_2);
  REGISTER_TILING_DEFAULT(ms_nsa::AttentionParams);
  GET_TILING_DATA(params, tiling);
  ms_nsa::AttentionAddresses gm{};
  gm.query = query;
  gm.key = key;
  gm.value = value;
  gm.topk_indices = topk_indices;
  gm.atten_mask = atten_mask;
  gm.block_table = block_table;
  gm.q_lens = actual_seq_qlen;
  gm.kv_lens = actual_seq_kvlen;
  gm.attention_out = attention_out;
  gm.softmax_max = softmax_max;
  gm.softmax_sum = softmax_sum;
  gm.workspace = AscendC::GetUserWorkspace(workspace);
  AscendC::TPipe pipe;
  if ASCEND_IS_AIC {
    ms_nsa::AttentionCube<DTYPE_QUERY, ms_nsa::PagedSource>(params, {params, gm}, gm, pipe).Run();
  }
  if ASCEND_IS_AIV {
    ms_nsa::ReportFirstError<ms_nsa::PagedSource>(params, gm, first_error);
    ms_nsa::AttentionVector<DTYPE_QUERY, ms_nsa::PagedSource>(params, {params, gm}, gm, pipe).Run();
  }
}
