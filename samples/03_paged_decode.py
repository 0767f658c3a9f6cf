# SPDX-License-Identifier: Apache-2.0
"""Generates text with the model of sample 02 from a paged KV cache, for a batch of prompts of different lengths.

Prompts and new tokens take one path, through NativeSparseAttentionInfer. Afterwards the training layer computes the
logits of the same texts at once, and both choose their blocks again; the exit status is 1 if they differ.

    python samples/02_train_char_lm.py
    python samples/03_paged_decode.py
"""

import argparse
import pathlib
import sys
import time

import mindspore as ms
import numpy as np
from char_lm import CharLM, load_config, load_text, load_weights, sizes_of
from mindspore import nn

import ms_nsa

TOLERANCE = 1e-3  # largest difference of a logit; float32 rounding makes about 1e-5
LEAST_AGREEMENT = 0.99  # of the choices of blocks; rounding decides between blocks that score the same


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "out")
    parser.add_argument("--prompt", nargs="+", help="texts to continue")
    parser.add_argument("--new-tokens", type=int, default=160)
    parser.add_argument("--page-block-size", type=int, default=24, help="rows; blocks may straddle pages")
    parser.add_argument("--temperature", type=float, default=0.5, help="0 takes the likeliest byte")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def default_prompts():
    """Two short ones, and a piece of the text that the model has not seen."""
    _, held_out = load_text()
    return ["The ", "A class definition is ", bytes(held_out[:250].tolist()).decode("utf-8", "ignore")]


class Pages:
    """The caches of all layers. Their pages have the same numbers, so that one allocator serves them all."""

    def __init__(self, config, batch, page_block_size):
        self.config, self.batch = config, batch
        self.pages_each = -(-config.sequence // page_block_size)
        self.compressed_each = -(-config.sequence // config.compress_stride // page_block_size)
        self.page_block_size, self.caches = page_block_size, []
        self.lengths = np.zeros(batch, np.int64)

    def attention(self, config):
        """The layer over pages of its own."""
        numbers = self.batch * self.pages_each, self.batch * self.compressed_each, self.page_block_size
        widths = config.key_value_head_num, config.head_dim, config.head_dim
        self.caches.append(ms_nsa.NsaCache(*numbers, *widths, ms.float32))
        return ms_nsa.NativeSparseAttentionInfer(**sizes_of(config), cache=self.caches[-1])

    def extend(self, q_lengths):
        """Makes room for q_lengths[b] new tokens of sequence b; returns what the layers are given besides x."""
        self.lengths = self.lengths + q_lengths
        for sequence, length in enumerate(self.lengths):
            self.caches[0].extend(sequence, int(length))
        tables = self.caches[0].block_tables(range(self.batch), self.pages_each, self.compressed_each)
        return *tables, ms.Tensor(q_lengths, ms.int64), ms.Tensor(self.lengths)


def int32(array):
    return ms.Tensor(array.astype(np.int32))


def sample(logits, temperature, rng):
    """One byte for every row of logits."""
    if temperature == 0:
        return logits.argmax(-1)
    return (logits / temperature + rng.gumbel(size=logits.shape)).argmax(-1)


def generate(config, args, prompts):
    """Continues the prompts. Returns lists with an array per prompt: all bytes, and all but the last one's logits."""
    rng = np.random.default_rng(args.seed)
    pages = Pages(config, len(prompts), args.page_block_size)
    model = CharLM(config, pages.attention)
    load_weights(args.out, model)

    new = [np.frombuffer(prompt.encode(), np.uint8) for prompt in prompts]
    texts, logits = ([[] for _ in prompts] for _ in range(2))
    for _ in range(args.new_tokens):
        q_lengths = np.array([len(tokens) for tokens in new])
        out = model(int32(pad(new)), *pages.extend(q_lengths)).asnumpy()
        for sequence, length in enumerate(q_lengths):
            texts[sequence].append(new[sequence])
            logits[sequence].append(out[sequence, :length])
        last = out[np.arange(len(prompts)), q_lengths - 1]
        new = list(sample(last, args.temperature, rng)[:, None])
    for sequence in range(len(prompts)):
        texts[sequence].append(new[sequence])
    return [[np.concatenate(parts) for parts in each] for each in (texts, logits)]


def pad(arrays):
    """Stacks arrays of different lengths."""
    longest = max(map(len, arrays))
    rest = [(0, 0)] * (arrays[0].ndim - 1)
    return np.stack([np.pad(a, [(0, longest - len(a)), *rest]) for a in arrays])


def compare(config, args, texts, logits):
    """The largest difference of a logit from those that the training layer computes for the whole texts."""
    model = CharLM(config)
    load_weights(args.out, model)
    texts = [text[:-1] for text in texts]
    out = model(int32(pad(texts))).asnumpy()
    return max(np.abs(out[at, : len(text)] - logits[at]).max() for at, text in enumerate(texts))


class Recorder(nn.Cell):
    """Keeps the blocks that a layer's choice returns, in PyNative mode."""

    def __init__(self, choice):
        super().__init__()
        self.choice, self.blocks = choice, []

    def construct(self, *inputs):
        outputs = self.choice(*inputs)
        self.blocks.append(outputs[1].asnumpy())
        return outputs


def record(owners, name):
    """Puts a Recorder in the place of the choice of every layer."""
    recorders = [Recorder(getattr(owner, name)) for owner in owners]
    for owner, recorder in zip(owners, recorders):
        setattr(owner, name, recorder)
    return recorders


def agreement(config, args, texts, starts):
    """The fraction of blocks that both layers choose alike for the texts: prompts at once, then byte by byte."""
    texts = [text[:-1] for text in texts]
    ms.set_context(mode=ms.PYNATIVE_MODE)
    model = CharLM(config)
    load_weights(args.out, model)
    recorders = record([layer.attention.attention for layer in model.layers], "compressed")
    shape = model(int32(pad(texts))).shape[:2]
    trained = [recorder.blocks[0].reshape(*shape, *recorder.blocks[0].shape[1:]) for recorder in recorders]

    pages = Pages(config, len(texts), args.page_block_size)
    model = CharLM(config, pages.attention)
    load_weights(args.out, model)
    recorders = record([layer.attention for layer in model.layers], "compressed_bsnd")
    same = []
    ends = np.array(starts)
    while (ends <= [len(text) for text in texts]).all():
        begins = pages.lengths
        new = [text[begin:end] for text, begin, end in zip(texts, begins, ends)]
        model(int32(pad(new)), *pages.extend(ends - begins))
        for recorder, blocks in zip(recorders, trained):
            for at, (begin, end) in enumerate(zip(begins, ends)):
                same.append((recorder.blocks[-1][at, : end - begin] == blocks[at, begin:end]).ravel())
        ends = ends + 1
    return np.concatenate(same).mean()


def main():
    args = parse_arguments()
    ms.set_context(mode=ms.GRAPH_MODE)
    try:
        config = load_config(args.out)
    except FileNotFoundError as error:
        sys.exit(f"{error.filename} must exist: run samples/02_train_char_lm.py first")
    prompts = args.prompt or default_prompts()
    if not all(prompts):
        sys.exit("--prompt must not be empty")
    room = config.sequence - max(len(prompt.encode()) for prompt in prompts)
    if args.new_tokens > room:
        sys.exit(f"--new-tokens must be at most {room}: the model knows {config.sequence} bytes at once")

    began = time.perf_counter()
    texts, logits = generate(config, args, prompts)
    seconds = time.perf_counter() - began
    for prompt, text in zip(prompts, texts):
        start = len(prompt.encode())
        print(f"--- {prompt!r} goes on:\n{bytes(text[start:].tolist()).decode('utf-8', 'replace')}")
    print(f"--- {args.new_tokens} tokens for each of {len(prompts)} prompts in {seconds:.1f} s, compilation included")

    difference = compare(config, args, texts, logits)
    alike = agreement(config, args, texts, [len(prompt.encode()) for prompt in prompts])
    good = difference <= TOLERANCE and alike >= LEAST_AGREEMENT
    print(f"logits of the training layer: largest difference {difference:.1e} (at most {TOLERANCE:g})")
    print(f"blocks chosen by the training layer: {alike:.2%} the same (at least {LEAST_AGREEMENT:.0%})")
    print("paged decoding equals training" if good else "paged decoding DIFFERS from training")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
