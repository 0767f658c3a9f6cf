# SPDX-License-Identifier: Apache-2.0
"""Trains a small language model with native sparse attention on the English text of Python's own documentation.

Then trains the same model with dense attention, from the same weights on the same batches, and compares the losses.
The loss curves, the checkpoint and the sizes go to samples/out.

    python samples/02_train_char_lm.py
"""

import argparse
import dataclasses
import pathlib
import time

import mindspore as ms
import numpy as np
from char_lm import VOCABULARY, CharLM, Config, DenseAttention, load_text, save_model, sparse_attention
from matplotlib.figure import Figure
from mindspore import nn, ops
from tqdm import tqdm
from training import TrainStep, learning_rates


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "out")
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    for field in dataclasses.fields(Config):
        parser.add_argument("--" + field.name.replace("_", "-"), type=int, default=field.default)
    return parser.parse_args()


def windows(data, starts, sequence):
    """[len(starts), sequence + 1] bytes: the inputs and, one further, the targets."""
    return ms.Tensor(data[starts[:, None] + np.arange(sequence + 1)])


class NextByteLoss(nn.Cell):
    """Mean cross entropy, in nats a byte, of predicting each byte from the ones before."""

    def __init__(self, model):
        super().__init__(auto_prefix=False)  # the weights keep their names
        self.model = model

    def construct(self, tokens):
        logits = self.model(tokens[:, :-1])
        return ops.cross_entropy(logits.reshape(-1, VOCABULARY), tokens[:, 1:].reshape(-1))


def train(name, model, data, args):
    """Trains the model in place; returns the loss of every step."""
    rng = np.random.default_rng(args.seed)
    rates = learning_rates(args.learning_rate, args.steps)
    optimizer = nn.AdamWeightDecay(model.trainable_params(), rates, beta2=0.95, weight_decay=0.05)
    step = TrainStep(NextByteLoss(model), optimizer)
    losses = []
    progress = tqdm(range(args.steps), desc=name, mininterval=1)
    for _ in progress:
        starts = rng.integers(0, len(data) - args.sequence, args.batch)
        losses.append(float(step(windows(data, starts, args.sequence)).asnumpy()))
        progress.set_postfix(loss=f"{np.mean(losses[-20:]):.3f}", refresh=False)
    return losses


def held_out_loss(model, data, args):
    """Mean loss over windows of the held-out text that do not overlap."""
    loss_function = NextByteLoss(model)
    starts = np.arange(0, len(data) - args.sequence, args.sequence)
    batch = min(args.batch, len(starts))
    batches = starts[: len(starts) // batch * batch].reshape(-1, batch)
    return np.mean([loss_function(windows(data, starts, args.sequence)).asnumpy() for starts in batches])


def plot(curves, path):
    figure = Figure(figsize=(7, 4), layout="tight")
    axes = figure.subplots()
    for name, losses in curves.items():
        span = min(20, len(losses))
        smooth = np.convolve(losses, np.ones(span) / span, "valid")
        axes.plot(np.arange(span, len(losses) + 1), smooth, label=f"{name} attention")
    axes.set(xlabel="step", ylabel="training loss, nats a byte (mean of 20 steps)")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def main():
    args = parse_arguments()
    config = Config(**{field.name: getattr(args, field.name) for field in dataclasses.fields(Config)})
    args.out.mkdir(parents=True, exist_ok=True)
    ms.set_context(mode=ms.GRAPH_MODE)
    ms.set_seed(args.seed)
    train_data, held_out_data = load_text()

    sparse, dense = CharLM(config, sparse_attention), CharLM(config, DenseAttention)
    names = dense.parameters_dict()  # those of the gates and of compression have no place there
    start = {name: ms.Parameter(value.asnumpy()) for name, value in sparse.parameters_dict().items() if name in names}
    ms.load_param_into_net(dense, start)
    count = sum(value.size for value in sparse.trainable_params())
    rows = config.select_block_size * config.select_block_count
    print(
        f"{len(train_data)} bytes of text, {count} weights, at most {rows} of {config.sequence} keys selected per token"
    )

    curves, results = {}, []
    for name, model in {"sparse": sparse, "dense": dense}.items():
        began = time.perf_counter()
        curves[name] = train(name, model, train_data, args)
        seconds = time.perf_counter() - began
        results.append((name, np.mean(curves[name][-20:]), held_out_loss(model, held_out_data, args), seconds))
    save_model(args.out, config, sparse)
    plot(curves, args.out / "loss.png")

    print(f"{'attention':<10}{'training loss':>14}{'held-out loss':>14}{'seconds':>9}")
    for name, training, held_out, seconds in results:
        print(f"{name:<10}{training:>14.3f}{held_out:>14.3f}{seconds:>9.0f}")
    print(f"saved {args.out / 'char_lm.ckpt'} and {args.out / 'loss.png'}")


if __name__ == "__main__":
    main()
