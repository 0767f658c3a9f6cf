# SPDX-License-Identifier: Apache-2.0
"""A byte-level decoder-only language model with native sparse attention: what samples 02 and 03 share.

Attention for training is ms_nsa's layer, or `DenseAttention` through MindSpore's own operators. 03_paged_decode.py has
the layer over a paged cache.
"""

import dataclasses
import json
import pathlib
import pydoc_data.topics

import mindspore as ms
import numpy as np
from mindspore import nn, ops
from mindspore.common.initializer import Normal, initializer

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
    compress_block_size: int = 8
    compress_stride: int = 4
    window_size: int = 48

    def __post_init__(self):
        least, most, count = self.local_blocks + 1, self.blocks, self.select_block_count
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


class RMSNorm(nn.Cell):
    def __init__(self, width):
        super().__init__()
        self.weight = ms.Parameter(ops.ones(width))

    def construct(self, x):
        return x * ops.rsqrt(ops.mean(x * x, -1, True) + 1e-6) * self.weight


def sizes_of(config):
    """The arguments that the layer has in training and in decoding."""
    return {
        "hidden_size": config.width,
        "head_num": config.head_num,
        "key_value_head_num": config.key_value_head_num,
        "key_head_dim": config.head_dim,
        "compress_block_size": config.compress_block_size,
        "compress_stride": config.compress_stride,
        "select_block_size": config.select_block_size,
        "select_block_count": config.select_block_count,
        "local_blocks": config.local_blocks,
        "window_size": config.window_size,
    }


def sparse_attention(config):
    """The layer for training, with weights that suit this small model."""
    return widen(ms_nsa.NativeSparseAttention(**sizes_of(config)))


def widen(layer):
    """Gives the layer weights that suit small models: its own are for large ones."""
    for projection in (layer.to_query, layer.to_key, layer.to_value, layer.to_out):
        weight = projection.weight
        weight.set_data(initializer(Normal(0.7 * weight.shape[1] ** -0.5), weight.shape, weight.dtype))
    return layer


def rotate(x):
    """Rotary position embedding of [B, S, N, D]."""
    half = x.shape[-1] // 2
    frequency = ms.Tensor(10000.0 ** -(np.arange(half) / half), ms.float32)
    angle = ops.arange(x.shape[1]).astype(ms.float32)[:, None, None] * frequency
    cos, sin = ops.cos(angle), ops.sin(angle)
    left, right = x[..., :half], x[..., half:]
    return ops.concat([left * cos - right * sin, right * cos + left * sin], -1)


class DenseAttention(nn.Cell):
    """Each token attends to every token up to itself; its weights have the names of those of the sparse layer."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.to_query = linear(config.width, config.width)
        self.to_key = linear(config.width, config.key_value_head_num * config.head_dim)
        self.to_value = linear(config.width, config.key_value_head_num * config.head_dim)
        self.to_out = linear(config.width, config.width)

    def construct(self, x):
        batch, tokens, _ = x.shape
        heads, width = self.config.key_value_head_num, self.config.head_dim
        query = rotate(self.to_query(x).reshape(batch, tokens, -1, width))
        key = rotate(self.to_key(x).reshape(batch, tokens, -1, width))
        value = self.to_value(x).reshape(batch, tokens, -1, width)
        query = query.transpose(0, 2, 1, 3).reshape(batch, heads, -1, width)
        key, value = key.transpose(0, 2, 3, 1), value.transpose(0, 2, 1, 3)
        scores = ops.matmul(query, key).reshape(batch, -1, tokens, tokens) / width**0.5
        hidden = ops.triu(ops.ones((tokens, tokens)), 1) * -1e9
        weights = ops.softmax(scores + hidden, -1).reshape(batch, heads, -1, tokens)
        out = ops.matmul(weights, value).reshape(batch, -1, tokens, width)
        return self.to_out(out.transpose(0, 2, 1, 3).reshape(x.shape))


class Layer(nn.Cell):
    def __init__(self, config, attention):
        super().__init__()
        self.attention = attention(config)
        self.attention_norm = RMSNorm(config.width)
        self.up = linear(config.width, 4 * config.width)
        self.down = linear(4 * config.width, config.width)
        self.mlp_norm = RMSNorm(config.width)

    def construct(self, x, *pages):
        x = x + self.attention(self.attention_norm(x), *pages)
        return x + self.down(ops.silu(self.up(self.mlp_norm(x))))


class CharLM(nn.Cell):
    """Bytes in, logits of the next byte out.

    Args:
        config (Config): the sizes.
        attention (callable): makes a layer's attention from the sizes.
    """

    def __init__(self, config, attention=sparse_attention):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, config.width, embedding_table=Normal(0.5))
        self.layers = nn.CellList([Layer(config, attention) for _ in range(config.layers)])
        self.norm = RMSNorm(config.width)
        self.head = linear(config.width, VOCABULARY)

    def construct(self, tokens, *pages):
        """`pages` are what attention over pages is given besides x."""
        x = self.embedding(tokens)
        for layer in self.layers:
            x = layer(x, *pages)
        return self.head(self.norm(x))


def linear(inputs, outputs):
    return nn.Dense(inputs, outputs, weight_init=Normal(0.7 * inputs**-0.5), has_bias=False)
