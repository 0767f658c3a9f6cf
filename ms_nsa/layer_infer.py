# SPDX-License-Identifier: Apache-2.0
"""The layer of native sparse attention for decoding."""

import mindspore as ms
import numpy as np
from mindspore import ops

from ms_nsa import checks, layer_checks
from ms_nsa.cache import NsaCache
from ms_nsa.gated_sum import make_gated_sum
from ms_nsa.layer_parts import NAME, LayerCell
from ms_nsa.page_writer import make_page_slots, make_page_writer
from ms_nsa.paged_attention import NsaSelectedAttentionInfer
from ms_nsa.paged_compressed_attention import NsaCompressAttentionInfer
from ms_nsa.paged_compression import NsaCompressInfer
from ms_nsa.paged_window_attention import NsaWindowAttentionInfer
from ms_nsa.primitive import call_arguments

_LAYOUTS = "TND", "BSND"


class NativeSparseAttentionInfer(LayerCell):
    r"""
    :class:`ms_nsa.NativeSparseAttention` for decoding over pages: any number of new tokens per sequence, so that
    prompts, parts of prompts, drafts and single tokens take one path.

    It has the parameters of the training layer under the same names, so that
    ``mindspore.load_param_into_net(layer, checkpoint)`` loads its checkpoint. Whatever the steps, the results are those
    of training up to rounding. New keys, values and compressed rows are written to the pages of `cache` in place. All
    lengths and the pages that will be written are checked first: a refused call has changed nothing. Drafts that were
    rejected need no call: the next one has a smaller `actual_seq_kvlen`, and writes over them.

    Args:
        hidden_size, head_num, key_value_head_num, key_head_dim, value_head_dim, compress_block_size, compress_stride,
            select_block_size, select_block_count, init_blocks, local_blocks, window_size, compress, compress_rope,
            rope_theta, independent_kv, gate_bias, gate_bias_init, has_bias, scale_value, param_dtype, compute_dtype,
            limits: as in :class:`ms_nsa.NativeSparseAttention`.
        cache (NsaCache): the pages; one cache per layer. Must be given.

    Inputs:
        - **x** (Tensor) - :math:`(T, hidden\_size)`, the new tokens of all sequences one after another, or
          :math:`(B, S, hidden\_size)`, of which the first tokens of each sequence count; float16, bfloat16 or float32.
        - **block_table** (Tensor) - :math:`(B, max\_blocks)`, int32. Page of every stretch of `page_block_size` raw
          rows.
        - **compressed_block_table** (Tensor) - :math:`(B, max\_compressed\_blocks)`, int32. The same of compressed
          rows.
        - **actual_seq_qlen** (Union[tuple, list, ndarray, Tensor]) - :math:`(B)`. New tokens of every sequence (no
          prefix sums); they sum to T, or are at most S each.
        - **actual_seq_kvlen** (Union[tuple, list, ndarray, Tensor]) - :math:`(B)`. Tokens of every sequence, the new
          ones included.

    Outputs:
        - **output** (Tensor) - shape and dtype of `x`. Padded tokens have no meaning.

    Raises:
        TypeError: If an argument has a wrong type, or an input a wrong dtype.
        ValueError: If an argument, rank or extent does not fit, or breaks `limits`.
        RuntimeError: If a value does not fit: lengths, or tables without a page for each row. In PyNative mode it is
            raised when the result is read.

    Supported Platforms:
        ``Ascend`` ``CPU``

    Examples:
        >>> import numpy as np
        >>> import mindspore as ms
        >>> from mindspore import Tensor
        >>> import ms_nsa
        >>> sizes = {"compress_block_size": 16, "compress_stride": 8, "select_block_size": 16, "select_block_count": 4}
        >>> cache = ms_nsa.NsaCache(8, 2, 16, 2, 24, 24, ms.float32)
        >>> layer = ms_nsa.NativeSparseAttentionInfer(64, 8, 2, 24, **sizes, cache=cache)
        >>> x = Tensor(np.random.default_rng(0).standard_normal((50, 64)), ms.float32)
        >>> for sequence, length in (("a", 30), ("b", 20)):
        ...     cache.extend(sequence, length)
        >>> print(layer(x, *cache.block_tables(["a", "b"]), (30, 20), (30, 20)).shape)  # two prompts
        (50, 64)
        >>> cache.extend("a", 31)
        >>> print(layer(x[:1], *cache.block_tables(["a"]), (1,), (31,)).shape)  # one more token
        (1, 64)
    """

    _lengths, _lengths_at = ("actual_seq_qlen", "actual_seq_kvlen"), (3, 4)

    def __init__(
        self,
        hidden_size,
        head_num,
        key_value_head_num,
        key_head_dim,
        value_head_dim=None,
        compress_block_size=32,
        compress_stride=16,
        select_block_size=64,
        select_block_count=16,
        init_blocks=1,
        local_blocks=2,
        window_size=512,
        compress="weighted",
        compress_rope="after",
        rope_theta=10000.0,
        independent_kv=False,
        gate_bias=True,
        gate_bias_init=None,
        has_bias=False,
        scale_value=None,
        param_dtype=ms.float32,
        compute_dtype=ms.float32,
        limits="auto",
        cache=None,
    ):
        given = dict(locals())
        super().__init__()
        sizes = self._make(given)
        self._check_cache(cache)
        cache.windows = compress_block_size, compress_stride
        self.keeps_raw_keys = not (independent_kv or self.rotates_before or self.rotary is None)
        if self.keeps_raw_keys:
            cache.add_pages("raw_key_pages", cache.num_pages, key_head_dim)
        self.cache = cache
        self._make_operators(sizes, scale_value, limits)

    def _check_cache(self, cache):
        if not isinstance(cache, NsaCache):
            checks.fail(TypeError, NAME, "cache", "be an NsaCache", type(cache).__name__)
        wanted = {
            "key_value_head_num": self.key_value_head_num,
            "key_head_dim": self.key_head_dim,
            "value_head_dim": self.value_head_dim,
            "dtype": self.compute_dtype,
            "independent_kv": self.independent_kv,
        }
        for argument, value in wanted.items():
            if getattr(cache, argument) != value:
                checks.fail(ValueError, NAME, "cache", f"have {argument} = {value}", getattr(cache, argument))

    def _make_operators(self, sizes, scale_value, limits):
        cache, layout = self.cache, self.cache.cache_layout
        heads = sizes["head_num"], sizes["key_value_head_num"]
        blocks, windows = (sizes["select_block_size"], sizes["select_block_count"]), cache.windows
        page = cache.page_block_size
        self.write = make_page_writer(layout)
        self.mix = make_gated_sum()
        self.pool = NsaCompressInfer(*windows, page, limits, layout)
        named = {"limits": limits, "cache_layout": layout}
        for tokens in _LAYOUTS:
            cells = (
                make_page_slots(tokens, cache, *windows),
                NsaCompressAttentionInfer(
                    *heads, *blocks, page, *windows, scale_value, tokens, sizes["init_blocks"], sizes["local_blocks"],
                    **named,
                ),
                NsaSelectedAttentionInfer(*heads, *blocks, page, scale_value, tokens, **named),
                NsaWindowAttentionInfer(*heads, sizes["window_size"], page, scale_value, tokens, **named),
            )  # fmt: skip
            for name, cell in zip(("slots", "compressed", "selected", "window"), cells):
                setattr(self, f"{name}_{tokens.lower()}", cell)
        one_hot = np.eye(windows[0], dtype=np.float32)[:, :, None].repeat(heads[1], 2)
        self.one_row = [ms.Tensor(row, self.compute_dtype) for row in one_hot]

    def construct(self, x, block_table, compressed_block_table, actual_seq_qlen, actual_seq_kvlen):
        self._check_input(x)
        packed = x.ndim == 2
        rows = self._rows(x)
        q_lens = call_arguments.as_lengths(NAME, "actual_seq_qlen", actual_seq_qlen, call_arguments.no_lengths())
        kv_lens = call_arguments.as_lengths(NAME, "actual_seq_kvlen", actual_seq_kvlen, call_arguments.no_lengths())
        find_slots = self.slots_tnd if packed else self.slots_bsnd
        positions, slots, new_windows, window_positions = find_slots(
            x, block_table, compressed_block_table, q_lens, kv_lens
        )
        query, angles = self.to_query(rows), self._angles(positions)
        turned = self._rotate(query, angles)
        kv_lens = self._write_rows(rows, angles, slots, kv_lens)
        kv_lens = self._write_windows(new_windows, window_positions, block_table, q_lens, kv_lens)
        lengths = q_lens, kv_lens
        gates = self._gates(rows)
        attention_out = self._attend(
            x, turned, turned if self.rotates_query else query, block_table, compressed_block_table, lengths, gates
        )
        return self._output(attention_out, x)

    def _check_input(self, x):
        if not isinstance(x, ms.Tensor):
            checks.fail_tensor(NAME, "x", x)
        if not call_arguments.shapes_unknown((x,)):
            layer_checks.check_input(NAME, x.shape, x.dtype, self.hidden_size)

    def _write_rows(self, rows, angles, slots, kv_lens):
        """Keys and values of the new tokens to their pages; returns kv_lens, to be read afterwards."""
        cache, key, value = self.cache, self.to_key(rows), self.to_value(rows)
        key, value, turned = self._narrow(key), self._narrow(value), self._narrow(self._rotate(key, angles))
        kv_lens = self.write(cache.key_pages, cache.value_pages, turned, value, slots, kv_lens)
        if self.keeps_raw_keys:
            kv_lens = self.write(cache.raw_key_pages, cache.value_pages, key, value, slots, kv_lens)
        if self.independent_kv:
            key = self.to_compress_key(rows)
            key = self._rotate(key, angles) if self.rotates_before else key
            key, value = self._narrow(key), self._narrow(self.to_compress_value(rows))
            kv_lens = self.write(cache.compress_key_pages, cache.compress_value_pages, key, value, slots, kv_lens)
            key = self._narrow(self._rotate(self.to_window_key(rows), angles))
            value = self._narrow(self.to_window_value(rows))
            kv_lens = self.write(cache.window_key_pages, cache.window_value_pages, key, value, slots, kv_lens)
        return kv_lens

    def _raw_pages(self):
        """What is compressed."""
        if self.independent_kv:
            return self.cache.compress_key_pages, self.cache.compress_value_pages
        if self.keeps_raw_keys:
            return self.cache.raw_key_pages, self.cache.value_pages
        return self.cache.key_pages, self.cache.value_pages

    def _window_pages(self):
        if self.independent_kv:
            return self.cache.window_key_pages, self.cache.window_value_pages
        return self.cache.key_pages, self.cache.value_pages

    def _write_windows(self, slots, positions, block_table, q_lens, kv_lens):
        """Compressed rows of the windows that end in the new tokens to their pages; returns kv_lens."""
        key_pages, value_pages = self._raw_pages()
        where = slots, block_table, kv_lens, q_lens
        key = self._compress(self.compress_key, key_pages, self.key_head_dim, where)
        value = self._compress(self.compress_value, value_pages, self.value_head_dim, where)
        if self.rotates_after and self.compress_rotary is not None:
            key = self.compress_rotary(key, positions.reshape((-1,)))
        cache = self.cache
        return self.write(
            cache.compressed_key_pages,
            cache.compressed_value_pages,
            self._narrow(key),
            self._narrow(value),
            slots.reshape((-1,)),
            kv_lens,
        )

    def _compress(self, compression, pages, width, where):
        if compression.pools:
            rows, _ = self.pool(pages, compression.pooling_weight(self.compute_dtype), *where)
            return rows.astype(ms.float32).reshape((-1, self.key_value_head_num, width))
        windows = ()
        for weight in self.one_row:  # the rows of a window one by one
            row, _ = self.pool(pages, weight, *where)
            windows += (row.astype(ms.float32).reshape((-1, self.key_value_head_num, width)),)
        return compression(ops.stack(windows, 2), self.compute_dtype)

    def _attend(self, x, query, compressed_query, block_table, compressed_block_table, lengths, gates):
        packed, cache = x.ndim == 2, self.cache
        compressed, selected, window = (
            (self.compressed_tnd, self.selected_tnd, self.window_tnd)
            if packed
            else (self.compressed_bsnd, self.selected_bsnd, self.window_bsnd)
        )
        if not packed:
            shape = (*x.shape[:2], self.head_num, self.key_head_dim)
            query = self.cast(query, ms.float32).reshape(shape)
            compressed_query = self.cast(compressed_query, ms.float32).reshape(shape)
        query, compressed_query = self._narrow(query), self._narrow(compressed_query)
        pages = cache.compressed_key_pages, cache.compressed_value_pages
        of_compressed, blocks = compressed(compressed_query, *pages, compressed_block_table, *lengths)
        of_selected = selected(query, cache.key_pages, cache.value_pages, blocks, block_table, *lengths)
        of_window = window(query, *self._window_pages(), block_table, *lengths)
        if packed:
            return self.mix(of_compressed, of_selected, of_window, gates)
        branches = ()
        for branch in (of_compressed, of_selected, of_window):
            branches += (branch.astype(ms.float32).reshape((-1, self.head_num, self.value_head_dim)),)
        return self.mix(*branches, gates)
