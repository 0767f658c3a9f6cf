// SPDX-License-Identifier: Apache-2.0
// Entry of MsNsaSelectAttentionGrad: the gradient of MsNsaSelectAttention. actual_seq_lens holds the prefix
// sums of the query rows, then those of the kv rows.
// clang-format off: first, since aicore.h asks whether it has defined __aicore__
#include "kernel_operator.h"
// clang-format on

#include "error_report.h"
#include "grad_cube.h"
#include "grad_vector.h"
#include "selected_rule.h"

extern "C" __global__ __aicore__ void ms_nsa_select_attention_grad(
    GM_ADDR grad, GM_ADDR query, GM_ADDR key, GM_ADDR value, GM_ADDR attention_out, GM_ADDR softmax_max,
    GM_ADDR softmax_sum, GM_ADDR topk_indices, GM_ADDR atten_mask, GM_ADDR actual_seq_lens,
    GM_ADDR softmax_max_grad, GM_ADDR softmax_sum_grad, GM_ADDR dq, GM_ADDR dk, GM_ADDR dv,
    GM_ADDR first_error, GM_ADDR workspace, GM_ADDR tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIC_1_2);
  REGISTER_TILING_DEFAULT(ms_nsa::AttentionParams);
  GET_TILING_DATA(params, tiling);
  ms_nsa::GradAddresses gm{};
  gm.query = query;
  gm.key = key;
  gm.value = value;
  gm.topk_indices = topk_indices;
  gm.atten_mask = atten_mask;
  gm.q_lens = actual_seq_lens;
  gm.kv_lens = actual_seq_lens + (params.has_q_lens ? params.batch * sizeof(int64_t) : 0);
  gm.attention_out = attention_out;
  gm.softmax_max = softmax_max;
  gm.softmax_sum = softmax_sum;
  gm.workspace = AscendC::GetUserWorkspace(workspace);
  gm.grad = grad;
  gm.softmax_max_grad = softmax_max_grad;
  gm.softmax_sum_grad = softmax_sum_grad;
  gm.dq = dq;
  gm.dk = dk;
  gm.dv = dv;
  const ms_nsa::PackedSource source(params, gm);
  AscendC::TPipe pipe;
  if ASCEND_IS_AIC {
    ms_nsa::GradCube<DTYPE_QUERY, ms_nsa::SelectedRule>(params, gm, source, pipe).Run();
  }
  if ASCEND_IS_AIV {
    ms_nsa::ReportFirstError<ms_nsa::PackedSource>(params, gm, first_error);
    ms_nsa::GradVector<DTYPE_QUERY, ms_nsa::SelectedRule>(params, gm, source, pipe).Run();
  }
}
