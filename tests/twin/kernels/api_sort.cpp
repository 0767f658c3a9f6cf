// SPDX-License-Identifier: Apache-2.0
// Sort32, then MrgSort of up to four of the sorted lists. The test states both in NumPy.
#include "kernel_operator.h"

using namespace AscendC;

struct SortTiling {
  int64_t lists, queues, repeats, suspend;
  int64_t lengths[4];
};

extern "C" __global__ __aicore__ void api_sort(GM_ADDR x, GM_ADDR index, GM_ADDR sorted, GM_ADDR merged,
                                               GM_ADDR workspace, GM_ADDR tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  GET_TILING_DATA_WITH_STRUCT(SortTiling, t, tiling);
  const int32_t numbers = static_cast<int32_t>(t.lists * 32);
  TPipe pipe;
  TBuf<TPosition::VECIN> in;
  TBuf<TPosition::VECOUT> out;
  pipe.InitBuffer(in, 2 * numbers * 4);
  pipe.InitBuffer(out, 2 * numbers * 8);
  GlobalTensor<float> x_gm, sorted_gm, merged_gm;
  GlobalTensor<uint32_t> index_gm;
  x_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(x));
  index_gm.SetGlobalBuffer(reinterpret_cast<__gm__ uint32_t*>(index));
  sorted_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(sorted));
  merged_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(merged));
  const LocalTensor<float> scores = in.GetWithOffset<float>(numbers, 0);
  const LocalTensor<uint32_t> indices = in.GetWithOffset<uint32_t>(numbers, numbers * 4);
  const LocalTensor<float> lists = out.GetWithOffset<float>(2 * numbers, 0);
  const LocalTensor<float> result = out.GetWithOffset<float>(2 * numbers, numbers * 8);
  DataCopy(scores, x_gm, numbers);
  DataCopy(indices, index_gm, numbers);
  Duplicate(result, 0.0f, 2 * numbers);
  PipeBarrier<PIPE_ALL>();
  Sort32(lists, scores, indices, static_cast<int32_t>(t.lists));
  PipeBarrier<PIPE_ALL>();
  MrgSort4Info info;
  for (int i = 0; i < 4; ++i) info.elementLengths[i] = static_cast<uint16_t>(t.lengths[i]);
  info.ifExhaustedSuspension = t.suspend != 0;
  info.validBit = static_cast<uint16_t>((1 << t.queues) - 1);
  info.repeatTimes = static_cast<uint8_t>(t.repeats);
  MrgSortSrcList<float> sources;
  sources.src1 = lists[0];
  sources.src2 = lists[64];
  sources.src3 = lists[t.queues > 2 ? 128 : 0];
  sources.src4 = lists[t.queues > 3 ? 192 : 0];
  MrgSort(result, sources, info);
  PipeBarrier<PIPE_ALL>();
  DataCopy(sorted_gm, lists, 2 * numbers);
  DataCopy(merged_gm, result, 2 * numbers);
  PipeBarrier<PIPE_ALL>();
}
