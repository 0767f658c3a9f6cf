# SPDX-License-Identifier: Apache-2.0
"""One training step and its learning rates: what samples 02 and 05 share."""

import mindspore as ms
import numpy as np
from mindspore import nn, ops


def learning_rates(peak, steps):
    """Linear warm-up, then a cosine down to a tenth."""
    warmup = max(steps // 20, 1)
    rise = peak * np.arange(1, warmup + 1) / warmup
    fall = peak * (0.55 + 0.45 * np.cos(np.pi * np.arange(steps - warmup + 1) / max(steps - warmup, 1)))
    return np.concatenate([rise, fall]).tolist()


class TrainStep(nn.Cell):
    """Updates the weights from one batch; returns its loss before."""

    def __init__(self, loss_function, optimizer):
        super().__init__(auto_prefix=False)  # the weights keep their names
        self.optimizer = optimizer
        self.value_and_grad = ms.value_and_grad(loss_function, None, optimizer.parameters)

    def construct(self, *batch):
        loss, gradients = self.value_and_grad(*batch)
        self.optimizer(ops.clip_by_global_norm(gradients, 1.0))
        return loss
