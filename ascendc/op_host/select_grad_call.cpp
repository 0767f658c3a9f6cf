// SPDX-License-Identifier: Apache-2.0
// From CANN's context to the tiling of MsNsaSelectAttentionGrad.
#include "select_grad_op.h"
#include "select_grad_tiling.h"

namespace ms_nsa {

using namespace select_grad_input;

namespace {

// A gradient of a statistic is absent or shaped like it.
std::string CheckStatisticGrad(const char* op, const TilingCall& call, size_t input, const char* name) {
  const int64_t elements = call.Extent(input, 0) * call.Extent(input, 1) * call.Extent(input, 2);
  const int64_t wanted = call.Extent(kQuery, 0) * call.Extent(kQuery, 1) * kStatLanes;
  return FirstBroken(
      op,
      {{call.MayHaveRank(input, 3), name, "have rank 3", static_cast<int64_t>(call.Rank(input))},
       {!call.Given(input) || elements == wanted, name, "have shape [T1, N1, 8]; its elements", elements}});
}

}  // namespace

ge::graphStatus TilingSelectGrad(gert::TilingContext* context) {
  constexpr const char* kOp = "MsNsaSelectAttentionGrad";
  const TilingCall call(context);
  const SelectPlaces at{kQuery, kKey, kValue, kTopkIndices, kAttenMask};
  const int64_t lens = call.Extent(kActualSeqLens, 0);
  std::string error = CheckSelectCall(kOp, call, at);
  if (error.empty()) {
    error = FirstBroken(
        kOp,
        {{call.MayHaveRank(kActualSeqLens, 1), "actual_seq_lens", "have rank 1",
          static_cast<int64_t>(call.Rank(kActualSeqLens))},
         {call.MayCover(kActualSeqLens, 0, 1), "actual_seq_lens", "hold at least one length; its entries", 0},
         {lens % 2 == 0, "actual_seq_lens", "hold as many lengths of keys as of queries", lens}});
  }
  if (error.empty()) error = CheckStatisticGrad(kOp, call, kSoftmaxMaxGrad, "softmax_max_grad");
  if (error.empty()) error = CheckStatisticGrad(kOp, call, kSoftmaxSumGrad, "softmax_sum_grad");
  if (!error.empty()) return Refuse(error);
  SelectShapes shapes = ReadSelectShapes(call, at);
  shapes.has_q_lens = shapes.has_kv_lens = call.Given(kActualSeqLens);
  if (shapes.has_q_lens) shapes.batch = lens / 2;
  shapes.has_max_grad = call.Given(kSoftmaxMaxGrad);
  shapes.has_sum_grad = call.Given(kSoftmaxSumGrad);
  return Submit(TileSelectGrad(shapes, AicCores(context)), context);
}

}  // namespace ms_nsa
