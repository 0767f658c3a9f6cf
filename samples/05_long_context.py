# SPDX-License-Identifier: Apache-2.0
"""Associative recall in long sequences: native sparse attention, dense attention, and a sliding window alone.

Pairs of a key and a value are hidden among random tokens; later the sequence asks for the value of each key, after one
token or after thousands. Three models of one attention layer train on short sequences and are tested on longer ones.
The picture goes to samples/out; the exit status is 1 if sparse or dense attention fails, or the window does not.

    python samples/05_long_context.py
"""

import argparse
import pathlib
import statistics
import sys
import time

import mindspore as ms
import numpy as np
from char_lm import RMSNorm, linear, widen
from matplotlib.figure import Figure
from mindspore import nn, ops
from mindspore.common.initializer import Normal
from tqdm import tqdm
from training import TrainStep, learning_rates

import ms_nsa

FILLERS, KEYS, VALUES = 32, 64, 64
QUESTION, NOTHING = VALUES, VALUES + 1  # instead of a value
HIDDEN, HEADS, KEY_HEADS, HEAD_DIM = 128, 4, 1, 64
WINDOW = 64
SPARSE = {
    "compress_block_size": 4,  # small: the mean of a window dilutes the one key that is looked for
    "compress_stride": 4,
    "select_block_size": 16,
    "select_block_count": 48,
    "window_size": WINDOW,
    "rope_theta": None,  # the task needs no positions
}
LEAST_RECALL, MOST_OF_WINDOW = 0.90, 0.15  # accuracy beyond the window; guessing gives 1 / VALUES


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "out")
    parser.add_argument("--train-lengths", type=int, nargs="+", default=[256, 2048])
    parser.add_argument("--steps", type=int, nargs="+", default=[90, 60], help="for each length")
    parser.add_argument("--tokens", type=int, default=2048, help="of a training step")
    parser.add_argument("--test-lengths", type=int, nargs="+", default=[1024, 4096, 16384])
    parser.add_argument("--test-sequences", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--pynative", action="store_true", help="train without graphs: starts sooner, goes slower")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if len(args.steps) != len(args.train_lengths):
        parser.error("--steps must have a number for each of --train-lengths")
    if min(args.train_lengths + args.test_lengths) < 4 * KEYS:
        parser.error(f"lengths must be at least {4 * KEYS}")
    return args


def places(rng, length):
    """Positions of the pairs and of the queries; the logarithm of their distance is uniform."""
    taken, found = set(), []
    while len(found) < KEYS:
        distance = int(np.exp(rng.uniform(0, np.log(length))))
        query = int(rng.integers(distance, length))
        if taken.isdisjoint((query, query - distance)):
            taken.update((query, query - distance))
            found.append((query - distance, query))
    return np.array(found).T


def make_batch(rng, batch, length):
    """Two numbers per token [batch, length, 2], the rows of the queries, their answers, and the distances."""
    ids = np.full((batch, length, 2), NOTHING)
    ids[..., 0] = rng.integers(0, FILLERS, (batch, length))
    rows, answers, distances = [], [], []
    for at in range(batch):
        pair, query = places(rng, length)
        keys, values = FILLERS + rng.permutation(KEYS), rng.integers(0, VALUES, KEYS)
        ids[at, pair] = np.stack([keys, values], 1)
        ids[at, query, 0], ids[at, query, 1] = keys, QUESTION
        rows.append(at * length + query)
        answers.append(values)
        distances.append(query - pair)
    tensors = [ms.Tensor(array, ms.int32) for array in (ids, np.concatenate(rows), np.concatenate(answers))]
    return *tensors, np.concatenate(distances)


class WindowAttention(nn.Cell):
    """Each token attends to the last `window_size` tokens; dense attention where no sequence is longer."""

    def __init__(self, window_size):
        super().__init__()
        self.to_query = linear(HIDDEN, HEADS * HEAD_DIM)
        self.to_key = linear(HIDDEN, KEY_HEADS * HEAD_DIM)
        self.to_value = linear(HIDDEN, KEY_HEADS * HEAD_DIM)
        self.to_out = linear(HEADS * HEAD_DIM, HIDDEN)
        self.attention = ms_nsa.NsaWindowAttention(HEADS, window_size)

    def construct(self, x):
        ends = (ops.arange(x.shape[0]) + 1) * x.shape[1]
        query = self.to_query(x).reshape((-1, HEADS, HEAD_DIM))
        key = self.to_key(x).reshape((-1, KEY_HEADS, HEAD_DIM))
        value = self.to_value(x).reshape((-1, KEY_HEADS, HEAD_DIM))
        out, _, _ = self.attention(query, key, value, ends, ends)
        return self.to_out(out.reshape((x.shape[0], x.shape[1], HEADS * HEAD_DIM)))


def attention_of(name, longest):
    if name == "sparse":
        return widen(ms_nsa.NativeSparseAttention(HIDDEN, HEADS, KEY_HEADS, HEAD_DIM, **SPARSE))
    return WindowAttention(WINDOW if name == "window" else longest)


class Recall(nn.Cell):
    """One layer of attention between embeddings and the scores of the values."""

    def __init__(self, attention):
        super().__init__()
        self.first = nn.Embedding(FILLERS + KEYS, HIDDEN, embedding_table=Normal(0.5))
        self.second = nn.Embedding(VALUES + 2, HIDDEN, embedding_table=Normal(0.5))
        self.norm, self.out_norm = RMSNorm(HIDDEN), RMSNorm(HIDDEN)
        self.attention = attention
        self.head = linear(HIDDEN, VALUES)

    def construct(self, ids, rows):
        x = self.first(ids[..., 0]) + self.second(ids[..., 1])
        x = x + self.attention(self.norm(x))
        return self.head(self.out_norm(ops.gather(x.reshape((-1, HIDDEN)), rows, 0)))


class AnswerLoss(nn.Cell):
    """Mean cross entropy of the answers."""

    def __init__(self, model):
        super().__init__(auto_prefix=False)
        self.model = model

    def construct(self, ids, rows, answers):
        return ops.cross_entropy(self.model(ids, rows), answers)


def train(name, model, args):
    """Trains the model in place on every length in turn; returns the seconds."""
    ms.set_context(mode=ms.PYNATIVE_MODE if args.pynative else ms.GRAPH_MODE)
    rng, began = np.random.default_rng(args.seed), time.perf_counter()
    rates = learning_rates(args.learning_rate, sum(args.steps))
    optimizer = nn.AdamWeightDecay(model.trainable_params(), rates, beta2=0.95, weight_decay=0.01)
    step, losses = TrainStep(AnswerLoss(model), optimizer), []
    lengths = np.repeat(args.train_lengths, args.steps).tolist()
    progress = tqdm(lengths, desc=f"{name}, training", mininterval=1)
    for length in progress:
        ids, rows, answers, _ = make_batch(rng, max(args.tokens // length, 1), length)
        losses.append(float(step(ids, rows, answers).asnumpy()))
        progress.set_postfix(length=length, loss=f"{np.mean(losses[-10:]):.3f}", refresh=False)
    return time.perf_counter() - began


def test(name, model, args):
    """For every length the distances, whether the answer was right, and the median seconds of a sequence."""
    ms.set_context(mode=ms.PYNATIVE_MODE)
    results = {}
    rng = np.random.default_rng(args.seed + 1)  # the same sequences for every model
    for length in tqdm(args.test_lengths, desc=f"{name}, test"):
        distances, right, seconds = [], [], []
        for _ in range(args.test_sequences):
            ids, rows, answers, distance = make_batch(rng, 1, length)
            began = time.perf_counter()
            scores = model(ids, rows).asnumpy()
            seconds.append(time.perf_counter() - began)
            distances.append(distance)
            right.append(scores.argmax(-1) == answers.asnumpy())
        results[length] = np.concatenate(distances), np.concatenate(right), statistics.median(seconds)
    return results


def draw(results, path):
    """Accuracy by distance in the longest sequences, and time by length."""
    figure = Figure(figsize=(11, 4), layout="tight")
    by_distance, by_length = figure.subplots(1, 2)
    for name, lengths in results.items():
        longest = max(lengths)
        distances, right, _ = lengths[longest]
        octave = np.log2(distances).astype(int)
        found = np.unique(octave)
        accuracy = [100 * right[octave == number].mean() for number in found]
        by_distance.plot(2.0**found * 2**0.5, accuracy, "o-", label=f"{name} attention")
        by_length.plot(list(lengths), [1000 * seconds for _, _, seconds in lengths.values()], "o-", label=name)
    by_distance.set(title=f"sequences of {longest} tokens", xlabel="distance, tokens", ylabel="right answers, %")
    by_length.set(title="one sequence, forward", xlabel="tokens", ylabel="milliseconds", yscale="log")
    for axes in (by_distance, by_length):
        axes.set_xscale("log", base=2)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=110)


def report(results, trained):
    """Prints the table; returns each model's accuracy beyond the window in the longest sequences."""
    print(f"{'attention':<10}{'tokens':>7}{'within window':>15}{'beyond':>8}{'milliseconds':>14}")
    beyond = {}
    for name, lengths in results.items():
        for length, (distances, right, seconds) in lengths.items():
            near, far = right[distances < WINDOW].mean(), right[distances >= WINDOW].mean()
            print(f"{name:<10}{length:>7}{near:>15.1%}{far:>8.1%}{1000 * seconds:>14.1f}")
            beyond[name] = far
    print("training: " + ", ".join(f"{name} {seconds:.0f} s" for name, seconds in trained.items()))
    return beyond


def main():
    args = parse_arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    args.test_lengths.sort()
    results, trained = {}, {}
    for name in ("sparse", "dense", "window"):
        ms.set_seed(args.seed)
        model = Recall(attention_of(name, max(args.train_lengths + args.test_lengths)))
        trained[name] = train(name, model, args)
        results[name] = test(name, model, args)
    draw(results, args.out / "long_context.png")
    beyond = report(results, trained)
    good = min(beyond["sparse"], beyond["dense"]) >= LEAST_RECALL and beyond["window"] <= MOST_OF_WINDOW
    print("sparse and dense attention recall, the window alone does not" if good else "NOT as it should be")
    print(f"saved {args.out / 'long_context.png'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
