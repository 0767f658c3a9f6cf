// SPDX-License-Identifier: Apache-2.0
// Entry of MsNsaWindowAttention: attention to the last rows of packed sequences.
// clang-format off: first, since aicore.h asks whether it has defined __aicore__
#include "kernel_operator.h"
// clang-format on

#include "dense_cube.h"
#include "dense_errors.h"
#include "dense_vector.h"
#include "error_report.h"

extern "C" __global__ __aicore__ void ms_nsa_window_attention(GM_ADDR query, GM_ADDR key, GM_ADDR value,
                                                              GM_ADDR actual_seq_qlen,
                                                              GM_ADDR actual_seq_kvlen, GM_ADDR attention_out,
                                                              GM_ADDR softmax_max, GM_ADDR softmax_sum,
                                                              GM_ADDR first_error, GM_ADDR workspace,
                                                              GM_ADDR tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIC_1_2);
  REGISTER_TILING_DEFAULT(ms_nsa::DenseParams);
  GET_TILING_DATA(params, tiling);
  ms_nsa::DenseAddresses gm{};
  gm.query = query;
  gm.key = key;
  gm.value = value;
  gm.q_lens = actual_seq_qlen;
  gm.kv_lens = params.kv_lens_given ? actual_seq_kvlen : actual_seq_qlen;
  gm.attention_out = attention_out;
  gm.softmax_max = softmax_max;
  gm.softmax_sum = softmax_sum;
  gm.workspace = AscendC::GetUserWorkspace(workspace);
  AscendC::TPipe pipe;
  if ASCEND_IS_AIC {
    ms_nsa::DenseCube<DTYPE_QUERY>(params, gm, pipe).Run();
  }
  if ASCEND_IS_AIV {
    if (ms_nsa::LooksForErrors(params.attention)) {
      const ms_nsa::DenseSource source(params, gm);
      ms_nsa::LeaveFirstError(ms_nsa::DenseErrors<ms_nsa::DenseSource>(params, source).Find(), first_error);
    }
    ms_nsa::DenseVector<DTYPE_QUERY>(params, gm, pipe).Run();
  }
}
