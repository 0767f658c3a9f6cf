// SPDX-License-Identifier: Apache-2.0
// Projections and their gradients: parameters filled, the kernel runs.
#include "../dispatch.h"
#include "op_info.h"
#include "operator.h"
#include "run_kernel.h"

namespace ms_nsa {
namespace {

template <class Operator>
void Multiply(const Operator& op, const void* a, const void* b, void* c, int64_t rows, int64_t columns,
              int64_t depth, ProductOf of) {
  MatrixProductParams params{a, b, c, rows, columns, depth, of, 0, op.dtype()};
  RunKernel(op, Kernels().matrix_product, params, params.max_threads);
}

}  // namespace

void Run(NsaProject& op) {
  Multiply(op, op.input.data, op.weight.data, op.output, op.T, op.N, op.K, ProductOf::kRowsAndRows);
}

void Run(NsaProjectGrad& op) {
  Multiply(op, op.grad.data, op.weight.data, op.input_grad, op.T, op.K, op.N, ProductOf::kRowsAndColumns);
  Multiply(op, op.grad.data, op.input.data, op.weight_grad, op.N, op.K, op.T, ProductOf::kColumnsAndColumns);
}

}  // namespace ms_nsa
