# SPDX-License-Identifier: Apache-2.0
"""A byte-level decoder-only language model with selected attention: what samples 02 and 03 share.

The layers, the rule that chooses the key blocks of every token, and attention for training: `SparseAttention` through
ms_nsa, `DenseAttention` through MindSpore's own operators. Attention over a paged cache is in 03_paged_decode.py.
"""

import dataclasses
import json
import pathlib
import pydoc_data.topics

import mindspore as ms
import numpy as np
from mindspore import nn, ops
from mindspore.common.initializer import Normal

import ms_nsa

VOCABULARY = 256


@dataclasses.dataclass
class Config:
    """Sizes of the model; saved beside the checkpoint."""

    layers: int = 4
    head_num: int = 4
    key_value_head_num: int = 2
    head_dim: int = 32
    sequence: int = 512
    select_block_size: int = 16
    select_block_count: int = 6
    local_blocks: int = 2  # a token's own block and the ones before it, always selected

    def __post_init__(self):
        least, most, count = self.local_blocks + 2, self.blocks, self.select_block_count
        if not least <= count <= most:
            raise ValueError(f"select_block_count must be from {least} to {most}, got {count}")

    @property
    def width(self):
        return self.head_num * self.head_dim

    @property
    def blocks(self):
        return -(-self.sequence // self.select_block_size)


def load_text():
    """Python's own documentation: the bytes to train on and the bytes held out."""
    text = "\n\n".join(pydoc_data.topics.topics.values()).encode()
    data = np.frombuffer(text, np.uint8).astype(np.int32)
    return np.split(data, [len(data) * 9 // 10])


def checkpoint_paths(folder):
    """Paths of the weights and of the sizes."""
    return str(pathlib.Path(folder) / "char_lm.ckpt"), pathlib.Path(folder) / "char_lm.json"


def save_model(folder, config, model):
    """Writes the checkpoint and the sizes."""
    weights, sizes = checkpoint_paths(folder)
    ms.save_checkpoint(model, weights)
    sizes.write_text(json.dumps(dataclasses.asdict(config), indent=1), encoding="utf-8")


def load_config(folder):
    """Reads the sizes."""
    return Config(**json.loads(checkpoint_paths(folder)[1].read_text(encoding="utf-8")))


def load_weights(folder, model):
    """Puts the weights of a checkpoint into a model, whatever its kind of attention."""
    weights = ms.load_checkpoint(checkpoint_paths(folder)[0])
    for parameter in model.trainable_params():
        parameter.set_data(weights[parameter.name])


def choose_blocks(query, block_keys, positions, config):
    """Chooses the blocks of keys that every token attends to.

    Always the first block, the token's own and the ones right before it; the slots left go to the blocks that the
    token's query scores highest. A block's key is the mean of its keys. A token sees complete blocks of the past only,
    so that it chooses alike in training and in decoding, where the future is not there.

    Args:
        query (Tensor): [B, S, N1, D].
        block_keys (Tensor): [B, config.blocks, N2, D].
        positions (Tensor): int32 [B or 1, S], of the tokens in their sequences.

    Returns:
        Tensor, int32 [B, S, N2, select_block_count]; -1 is an empty slot.
    """
    query, block_keys = ops.stop_gradient(query), ops.stop_gradient(block_keys)
    batch, tokens, head_num, head_dim = query.shape
    kv_heads = block_keys.shape[2]

    own = positions[:, :, None] // config.select_block_size
    recent = own - ops.arange(config.local_blocks)
    recent = ops.where(recent > 0, recent, -1)  # block 0 has its slot already, and a block listed twice counts twice
    always = ops.concat([ops.zeros_like(own), recent], -1)[:, :, None, :]
    always = ops.broadcast_to(always, (batch, tokens, kv_heads, config.local_blocks + 1))

    block = ops.arange(config.blocks)
    candidate = ops.logical_and(block > 0, block <= own - config.local_blocks)[:, None]
    query = query.transpose(0, 2, 1, 3).reshape(batch, kv_heads, -1, head_dim)
    scores = ops.matmul(query, block_keys.transpose(0, 2, 3, 1)) / head_dim**0.5
    scores = scores.reshape(batch, head_num, tokens, config.blocks)
    weights = ops.softmax(ops.where(candidate, scores, -1e9), -1)
    weights = weights.reshape(batch, kv_heads, -1, tokens, config.blocks).sum(2)  # over the group of a kv head
    weights = ops.where(candidate, weights, -1.0)
    best_weights, best = ops.topk(weights, config.select_block_count - config.local_blocks - 1)
    best = ops.where(best_weights >= 0, best, -1).transpose(0, 2, 1, 3)
    return ops.concat([always.astype(ms.int32), best.astype(ms.int32)], -1)


def block_means(key, config):
    """Mean key of every block, [B, blocks, N2, D]; `choose_blocks` uses those of complete blocks."""
    batch, tokens, heads, width = key.shape
    key = ops.pad(key, (0, 0, 0, 0, 0, config.blocks * config.select_block_size - tokens))
    return key.reshape(batch, config.blocks, config.select_block_size, heads, width).mean(2)


def rotate(x, positions):
    """Rotary position embedding of [B, S, N, D]."""
    half = x.shape[-1] // 2
    frequency = ms.Tensor(10000.0 ** -(np.arange(half) / half), ms.float32)
    angle = positions[:, :, None, None] * frequency
    cos, sin = ops.cos(angle), ops.sin(angle)
    left, right = x[..., :half], x[..., half:]
    return ops.concat([left * cos - right * sin, right * cos + left * sin], -1)


class RMSNorm(nn.Cell):
    def __init__(self, width):
        super().__init__()
        self.weight = ms.Parameter(ops.ones(width))

    def construct(self, x):
        return x * ops.rsqrt(ops.mean(x * x, -1, True) + 1e-6) * self.weight


class Attention(nn.Cell):
    """Projections around an `attend(query, key, value, positions, state)` that a subclass adds.

    `attend` returns attention_out [B, S, N1, D] and the blocks chosen.
    """

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.to_query = linear(config.width, config.width)
        self.to_key = linear(config.width, config.key_value_head_num * config.head_dim)
        self.to_value = linear(config.width, config.key_value_head_num * config.head_dim)
        self.to_out = linear(config.width, config.width)

    def construct(self, x, positions, state):
        heads = (*x.shape[:2], -1, self.config.head_dim)
        query = rotate(self.to_query(x).reshape(heads), positions)
        key = rotate(self.to_key(x).reshape(heads), positions)
        value = self.to_value(x).reshape(heads)
        attention_out, topk_indices = self.attend(query, key, value, positions, state)
        return self.to_out(attention_out.reshape(x.shape)), topk_indices


class SparseAttention(Attention):
    """Each token attends to the blocks chosen for it; the sequences of a batch are packed for the operator.

    A `state` that is not None replaces the choice.
    """

    def __init__(self, config):
        super().__init__(config)
        self.select_attention = ms_nsa.NsaSelectAttention(
            config.head_num,
            select_block_size=config.select_block_size,
            select_block_count=config.select_block_count,
            sparse_mode=3,
        )

    def attend(self, query, key, value, positions, state):
        batch, tokens = query.shape[:2]
        ends = tuple([tokens * (sequence + 1) for sequence in range(batch)])
        own_choice = choose_blocks(query, block_means(key, self.config), positions, self.config)
        topk_indices = own_choice if state is None else state
        attention_out = self.select_attention(
            pack(query), pack(key), pack(value), pack(topk_indices), None, ends, ends
        )[0]
        return attention_out.reshape(query.shape), own_choice


class DenseAttention(Attention):
    """Each token attends to every token up to itself."""

    def attend(self, query, key, value, positions, state):
        batch, tokens, _, width = query.shape
        query = query.transpose(0, 2, 1, 3).reshape(batch, key.shape[2], -1, width)
        key, value = key.transpose(0, 2, 3, 1), value.transpose(0, 2, 1, 3)
        scores = ops.matmul(query, key).reshape(batch, -1, tokens, tokens) / width**0.5
        hidden = ops.triu(ops.ones((tokens, tokens)), 1) * -1e9
        weights = ops.softmax(scores + hidden, -1).reshape(batch, value.shape[1], -1, tokens)
        out = ops.matmul(weights, value).reshape(batch, -1, tokens, width)
        return out.transpose(0, 2, 1, 3), ()


class Layer(nn.Cell):
    def __init__(self, config, attention):
        super().__init__()
        self.attention = attention(config)
        self.attention_norm = RMSNorm(config.width)
        self.up = linear(config.width, 4 * config.width)
        self.down = linear(4 * config.width, config.width)
        self.mlp_norm = RMSNorm(config.width)

    def construct(self, x, positions, state):
        attention_out, topk_indices = self.attention(self.attention_norm(x), positions, state)
        x = x + attention_out
        return x + self.down(ops.silu(self.up(self.mlp_norm(x)))), topk_indices


class CharLM(nn.Cell):
    """Bytes in, logits of the next byte out, and the blocks that every layer chose.

    Args:
        config (Config): the sizes.
        attention (class): SparseAttention, DenseAttention or another subclass of Attention.
    """

    def __init__(self, config, attention=SparseAttention):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, config.width, embedding_table=Normal(0.5))
        self.layers = nn.CellList([Layer(config, attention) for _ in range(config.layers)])
        self.norm = RMSNorm(config.width)
        self.head = linear(config.width, VOCABULARY)

    def construct(self, tokens, positions=None, states=None):
        if positions is None:
            positions = ops.arange(tokens.shape[1])[None]
        x, choices = self.embedding(tokens), ()
        for index, layer in enumerate(self.layers):
            x, topk_indices = layer(x, positions, None if states is None else states[index])
            choices += (topk_indices,)
        return self.head(self.norm(x)), choices


def linear(inputs, outputs):
    return nn.Dense(inputs, outputs, weight_init=Normal(0.7 * inputs**-0.5), has_bias=False)


def pack(x):
    """[B, S, ...] to [B * S, ...]."""
    return x.reshape(-1, *x.shape[2:])
