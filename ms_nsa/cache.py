# SPDX-License-Identifier: Apache-2.0
"""The paged cache of one layer, and the pages of sequences."""

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from ms_nsa import checks, layer_checks
from ms_nsa.family_rules import window_count

_NAME = "NsaCache"


class NsaCache(nn.Cell):
    r"""
    Pages of raw and of compressed rows for one :class:`ms_nsa.NativeSparseAttentionInfer`, and a simple allocator.

    Pages are Parameters, which the layer writes in place. Block tables may be the caller's own, or come from the
    allocator: :meth:`extend` gives a sequence the pages that it needs, :meth:`block_tables` lists them,
    :meth:`release` takes them back. Layers of one model can share the tables of one cache's allocator, as their pages
    have the same numbers.

    Args:
        num_pages (int): Pages of raw rows.
        num_compressed_pages (int): Pages of compressed rows.
        page_block_size (int): Rows of a page, of both kinds.
        key_value_head_num (int): Number of key and value heads N2.
        key_head_dim (int): Width D1 of keys.
        value_head_dim (int): Width D2 of values.
        dtype (mindspore.dtype): float16, bfloat16 or float32; the layer's `compute_dtype`.
        cache_layout (str, optional): ``"BNSD"``, in whose pages the rows of a head follow one another, or ``"BSND"``.
            Default: ``"BNSD"``.
        independent_kv (bool, optional): There are raw pages for every branch. Default: ``False``.

    Raises:
        TypeError: If an argument has a wrong type.
        ValueError: If an argument does not fit.

    Supported Platforms:
        ``Ascend`` ``CPU``

    Examples:
        >>> import mindspore as ms
        >>> import ms_nsa
        >>> cache = ms_nsa.NsaCache(8, 2, 16, key_value_head_num=2, key_head_dim=24, value_head_dim=16,
        ...                         dtype=ms.bfloat16)
        >>> cache.extend("a", 40)
        >>> cache.extend("b", 10)
        >>> block_table, compressed_block_table = cache.block_tables(["a", "b"])
        >>> print(block_table)
        [[ 0  1  2]
         [ 3 -1 -1]]
        >>> cache.release("a")
        >>> print(cache.free_pages)
        7
    """

    def __init__(
        self,
        num_pages,
        num_compressed_pages,
        page_block_size,
        key_value_head_num,
        key_head_dim,
        value_head_dim,
        dtype,
        cache_layout="BNSD",
        independent_kv=False,
    ):
        super().__init__()
        sizes = {
            "num_pages": num_pages,
            "num_compressed_pages": num_compressed_pages,
            "page_block_size": page_block_size,
            "key_value_head_num": key_value_head_num,
            "key_head_dim": key_head_dim,
            "value_head_dim": value_head_dim,
        }
        for name, value in sizes.items():
            setattr(self, name, checks.size_up_to(2**31 - 1, _NAME, name, value))
        if self.num_pages * self.page_block_size > 2**31 - 1:
            checks.fail(ValueError, _NAME, "num_pages", "have at most 2147483647 rows in all", num_pages)
        layer_checks.check_dtype(_NAME, "dtype", dtype)
        layer_checks.check_choice(_NAME, "cache_layout", cache_layout, ("BNSD", "BSND"))
        layer_checks.check_switch(_NAME, "independent_kv", independent_kv)
        self.dtype, self.cache_layout, self.independent_kv = dtype, cache_layout, independent_kv
        self.windows = 32, 16  # compress_block_size and compress_stride, which the layer sets
        self._make_pages()
        self._free = list(range(num_pages))[::-1], list(range(num_compressed_pages))[::-1]
        self._pages = {}  # by sequence: raw and compressed ones

    def _make_pages(self):
        raw = ("", "compress_", "window_") if self.independent_kv else ("",)
        for name in raw:
            self.add_pages(name + "key_pages", self.num_pages, self.key_head_dim)
            self.add_pages(name + "value_pages", self.num_pages, self.value_head_dim)
        self.add_pages("compressed_key_pages", self.num_compressed_pages, self.key_head_dim)
        self.add_pages("compressed_value_pages", self.num_compressed_pages, self.value_head_dim)

    def add_pages(self, name, number, width):
        """Makes a Parameter of that many pages, all zero."""
        heads, rows = self.key_value_head_num, self.page_block_size
        inner = (heads, rows) if self.cache_layout == "BNSD" else (rows, heads)
        pages = ops.zeros((number, *inner, width), self.dtype)
        setattr(self, name, ms.Parameter(pages, name=name, requires_grad=False))

    @property
    def free_pages(self):
        """Raw pages that no sequence has."""
        return len(self._free[0])

    @property
    def free_compressed_pages(self):
        """Compressed pages that no sequence has."""
        return len(self._free[1])

    def extend(self, sequence, length):
        """Gives a sequence, by any name, the pages for `length` rows in all; what it has stays.

        Raises:
            RuntimeError: If there are not enough pages; then nothing changes.
        """
        checks.size_up_to(2**31 - 1, _NAME, "length", length, 0)
        wanted = -(-length // self.page_block_size), -(-window_count(length, *self.windows) // self.page_block_size)
        has = self._pages.get(sequence, ([], []))
        for name, free, pages, count in zip(("num_pages", "num_compressed_pages"), self._free, has, wanted):
            if count - len(pages) > len(free):
                rule = f"be at least {getattr(self, name) + count - len(pages) - len(free)} for {length} rows"
                checks.fail(RuntimeError, _NAME, name, f"{rule} of sequence {sequence!r}", getattr(self, name))
        for free, pages, count in zip(self._free, has, wanted):
            pages.extend(free.pop() for _ in range(count - len(pages)))
        self._pages[sequence] = has

    def release(self, sequence):
        """Takes back the pages of a sequence.

        Raises:
            KeyError: If there is no such sequence.
        """
        if sequence not in self._pages:
            checks.fail(KeyError, _NAME, "sequence", "be one that extend was told of", sequence)
        for free, pages in zip(self._free, self._pages.pop(sequence)):
            free.extend(reversed(pages))

    def block_tables(self, sequences, max_blocks=None, max_compressed_blocks=None):
        """The pages of sequences as `block_table` and `compressed_block_table`, int32 Tensors padded with -1.

        Args:
            sequences (list): names given to :meth:`extend`.
            max_blocks (int, optional): columns of `block_table`, for graphs that shall not be compiled again.
                Default: ``None``, as many as are needed.
            max_compressed_blocks (int, optional): the same of the other table. Default: ``None``.
        """
        tables = []
        for kind, columns in enumerate((max_blocks, max_compressed_blocks)):
            rows = [self._pages[sequence][kind] if sequence in self._pages else [] for sequence in sequences]
            most = max(1, *map(len, rows)) if rows else 1
            if columns is not None and columns < most:
                name = ("max_blocks", "max_compressed_blocks")[kind]
                checks.fail(ValueError, _NAME, name, f"be at least {most}", columns)
            table = np.full((len(rows), columns or most), -1, np.int32)
            for place, pages in enumerate(rows):
                table[place, : len(pages)] = pages
            tables.append(ms.Tensor(table))
        return tuple(tables)
