# SPDX-License-Identifier: Apache-2.0
"""Generates text with the model of sample 02 from a paged KV cache, for a batch of prompts of different lengths.

Prompts and new tokens take one path, through NsaSelectedAttentionInfer. Afterwards the training Cell computes the
logits of the same texts at once; the exit status is 1 if they differ.

    python samples/02_train_char_lm.py
    python samples/03_paged_decode.py
"""

import argparse
import functools
import pathlib
import sys
import time

import mindspore as ms
import numpy as np
from char_lm import Attention, CharLM, choose_blocks, load_config, load_text, load_weights
from mindspore import ops

import ms_nsa

TOLERANCE = 1e-3  # largest difference of a logit; float32 rounding makes about 1e-5
LEAST_AGREEMENT = 0.99  # of the choices of blocks; rounding decides between blocks that score the same


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "out")
    parser.add_argument("--prompt", nargs="+", help="texts to continue")
    parser.add_argument("--new-tokens", type=int, default=160)
    parser.add_argument("--page-block-size", type=int, default=24, help="rows; select blocks may straddle pages")
    parser.add_argument("--temperature", type=float, default=0.5, help="0 takes the likeliest byte")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def default_prompts():
    """Two short ones, and a piece of the text that the model has not seen."""
    _, held_out = load_text()
    return ["The ", "A class definition is ", bytes(held_out[:250].tolist()).decode("utf-8", "ignore")]


class PagedAttention(Attention):
    """Attention of new tokens to all tokens so far, whose keys and values lie in pages.

    The cache has one page and one block more than are in use; what is written for padding goes there.
    """

    def __init__(self, config, batch, num_pages, page_block_size):
        super().__init__(config)
        heads = config.key_value_head_num, config.head_dim
        self.key_pages = zeros("key_pages", num_pages + 1, page_block_size, *heads)
        self.value_pages = zeros("value_pages", num_pages + 1, page_block_size, *heads)
        self.block_keys = zeros("block_keys", batch, config.blocks + 1, *heads)
        self.select_attention = ms_nsa.NsaSelectedAttentionInfer(
            config.head_num,
            config.key_value_head_num,
            config.select_block_size,
            config.select_block_count,
            page_block_size,
        )

    def attend(self, query, key, value, positions, state):
        rows, blocks, block_table, q_lengths, kv_lengths = state
        key_pages = ops.scatter_nd_update(self.key_pages, rows, key)
        value_pages = ops.scatter_nd_update(self.value_pages, rows, value)
        block_keys = ops.scatter_nd_add(self.block_keys, blocks, key / self.config.select_block_size)
        topk_indices = choose_blocks(query, block_keys[:, :-1], positions, self.config)
        attention_out = self.select_attention(
            query, key_pages, value_pages, topk_indices, block_table, q_lengths, kv_lengths
        )
        return attention_out, topk_indices


def zeros(name, *shape):
    return ms.Parameter(ops.zeros(shape), name=name, requires_grad=False)


class PageTable:
    """Hands out pages in random order as sequences grow, and says where the rows of new tokens go."""

    def __init__(self, config, batch, page_block_size, rng):
        self.config, self.page_block_size = config, page_block_size
        pages_each = -(-config.sequence // page_block_size)
        self.num_pages = batch * pages_each
        self.free = rng.permutation(self.num_pages).tolist()
        self.block_table = np.full((batch, pages_each), -1, np.int32)
        self.lengths = np.zeros(batch, np.int64)

    def extend(self, q_lengths):
        """Makes room for q_lengths[b] new tokens of sequence b; returns their positions and `state` for attention."""
        begins, self.lengths = self.lengths, self.lengths + q_lengths
        for sequence, length in enumerate(self.lengths):
            for page in range(-(-length // self.page_block_size)):
                if self.block_table[sequence, page] < 0:
                    self.block_table[sequence, page] = self.free.pop()
        step = np.arange(q_lengths.max())
        padding = step >= q_lengths[:, None]
        positions = np.where(padding, 0, begins[:, None] + step)
        sequence = np.arange(len(q_lengths))[:, None]
        pages = self.block_table[sequence, positions // self.page_block_size]
        rows = np.stack([np.where(padding, self.num_pages, pages), positions % self.page_block_size], -1)
        blocks = np.where(padding, self.config.blocks, positions // self.config.select_block_size)
        blocks = np.stack([np.broadcast_to(sequence, blocks.shape), blocks], -1)
        state = int32(rows), int32(blocks), int32(self.block_table), ms.Tensor(q_lengths), ms.Tensor(self.lengths)
        return int32(positions), state


def int32(array):
    return ms.Tensor(array.astype(np.int32))


def sample(logits, temperature, rng):
    """One byte for every row of logits."""
    if temperature == 0:
        return logits.argmax(-1)
    return (logits / temperature + rng.gumbel(size=logits.shape)).argmax(-1)


def generate(config, args, prompts):
    """Continues the prompts.

    Returns lists with an array per prompt: all bytes; and for all but the last byte the logits [S, 256] and the blocks
    chosen [S, layers, N2, select_block_count].
    """
    rng = np.random.default_rng(args.seed)
    table = PageTable(config, len(prompts), args.page_block_size, rng)
    paged = functools.partial(
        PagedAttention, batch=len(prompts), num_pages=table.num_pages, page_block_size=args.page_block_size
    )
    model = CharLM(config, paged)
    load_weights(args.out, model)

    new = [np.frombuffer(prompt.encode(), np.uint8) for prompt in prompts]
    texts, logits, choices = ([[] for _ in prompts] for _ in range(3))
    for _ in range(args.new_tokens):
        q_lengths = np.array([len(tokens) for tokens in new])
        positions, state = table.extend(q_lengths)
        out, chosen = model(int32(pad(new)), positions, ms.mutable((state,) * config.layers))
        out, chosen = out.asnumpy(), np.stack([layer.asnumpy() for layer in chosen], 2)
        for sequence, length in enumerate(q_lengths):
            texts[sequence].append(new[sequence])
            logits[sequence].append(out[sequence, :length])
            choices[sequence].append(chosen[sequence, :length])
        last = out[np.arange(len(prompts)), q_lengths - 1]
        new = list(sample(last, args.temperature, rng)[:, None])
    for sequence in range(len(prompts)):
        texts[sequence].append(new[sequence])
    return [[np.concatenate(parts) for parts in each] for each in (texts, logits, choices)]


def pad(arrays, value=0):
    """Stacks arrays of different lengths."""
    longest = max(map(len, arrays))
    rest = [(0, 0)] * (arrays[0].ndim - 1)
    return np.stack([np.pad(a, [(0, longest - len(a)), *rest], constant_values=value) for a in arrays])


def compare(config, args, texts, logits, choices):
    """Runs the training Cell on the texts with the blocks chosen in decoding.

    Returns the largest difference of a logit, and how many of its own choices equal those of decoding.
    """
    model = CharLM(config)
    load_weights(args.out, model)
    texts, given = [text[:-1] for text in texts], pad(choices, -1)
    out, own = model(int32(pad(texts)), None, tuple(int32(given[:, :, layer]) for layer in range(config.layers)))
    own = np.stack([layer.asnumpy() for layer in own], 2)
    real = np.arange(given.shape[1]) < np.array([len(text) for text in texts])[:, None]
    difference = np.abs(out.asnumpy() - pad(logits))[real].max()
    agreement = (np.sort(own, -1) == np.sort(given, -1)).all(-1)[real]
    return difference, agreement.mean()


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
    texts, logits, choices = generate(config, args, prompts)
    seconds = time.perf_counter() - began
    for prompt, text in zip(prompts, texts):
        start = len(prompt.encode())
        print(f"--- {prompt!r} goes on:\n{bytes(text[start:].tolist()).decode('utf-8', 'replace')}")
    print(f"--- {args.new_tokens} tokens for each of {len(prompts)} prompts in {seconds:.1f} s, compilation included")

    difference, agreement = compare(config, args, texts, logits, choices)
    good = difference <= TOLERANCE and agreement >= LEAST_AGREEMENT
    print(f"logits of the training Cell: largest difference {difference:.1e} (at most {TOLERANCE:g})")
    print(f"blocks chosen by the training Cell: {agreement:.2%} the same (at least {LEAST_AGREEMENT:.0%})")
    print("paged decoding equals training" if good else "paged decoding DIFFERS from training")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
