# SPDX-License-Identifier: Apache-2.0
"""Random cases: ragged lengths, odd sizes, every style of index row, every mask and scale."""

from dataclasses import dataclass, replace

import numpy as np

from .cases import PagedCase, SelectCase

NEGATIVES = (-1, -1, -1, -2, -17, np.iinfo(np.int32).min)


@dataclass(frozen=True)
class Profile:
    """What a backend takes: the values from which sizes are drawn."""

    head_dims: tuple
    select_block_sizes: tuple
    select_block_counts: tuple
    page_block_sizes: tuple
    groups: tuple

    def nearest(self, d1, d2, select_block_size, page_block_size=1):
        """Sizes of the profile, the smallest that are at least as large as those wanted."""
        wanted = {
            "d1": (d1, self.head_dims),
            "d2": (d2, self.head_dims),
            "select_block_size": (select_block_size, self.select_block_sizes),
            "page_block_size": (page_block_size, self.page_block_sizes),
        }
        return {name: min(c for c in choices if c >= size) for name, (size, choices) in wanted.items()}

    def fits(self, case):
        """Whether a case lies within these sizes (groups and counts may lie between those drawn)."""
        dims = {case.query_rows.shape[-1], case.value_rows.shape[-1]}
        group = case.query_rows.shape[1] // case.key_rows.shape[1]
        return (
            dims <= set(self.head_dims)
            and case.select_block_size in self.select_block_sizes
            and case.select_block_count <= max(self.select_block_counts)
            and getattr(case, "page_block_size", self.page_block_sizes[0]) in self.page_block_sizes
            and group <= max(self.groups)
        )


ANY = Profile(
    head_dims=(*range(1, 18), *range(1, 211)),
    select_block_sizes=(1, 3, 16, 17, 48, 64, 100, 128, *range(1, 131)),
    select_block_counts=tuple(range(1, 21)),
    page_block_sizes=(1, 16, 64, 128, *range(1, 201)),
    groups=(*range(1, 10), *range(1, 10), 16, 17),
)
ASCEND = Profile(
    head_dims=(*range(16, 257, 16), 128, 192),
    select_block_sizes=tuple(range(16, 129, 16)),
    select_block_counts=tuple(range(1, 33)),
    page_block_sizes=(*range(16, 257, 16), 64, 128),
    groups=(*range(1, 10), 12, 16, 17, 31, 32),
)

# A case with more multiplications, kv elements or index rows than this is drawn again: the oracle and a
# scalar kernel must get through thousands.
MAX_WORK = 8_000_000
MAX_ELEMENTS = 400_000
MAX_INDEX_ROWS = 160


def random_select_case(rng, dtype, profile=ANY, poison=False):
    """A random training case; with ``poison``, NaN and Inf lie in every kv row out of use."""
    q_lens, kv_lens = _random_lengths(rng)
    sizes = _random_sizes(rng, profile, sum(q_lens), sum(kv_lens), max(kv_lens))
    case = make_select_case(
        rng, dtype, q_lens, kv_lens, **sizes,
        scale_value=random_scale(rng, sizes["d1"]), sparse_mode=int(rng.choice([0, 2, 3])),
        atten_mask=random_mask(rng, max(q_lens), max(kv_lens)), name="random select",
    )  # fmt: skip
    if len(q_lens) == 1 and rng.random() < 0.5:
        case.actual_seq_qlen = case.actual_seq_kvlen = None
    return case.poisoned() if poison else case


def make_select_case(
    rng, dtype, q_lens, kv_lens, *, n2, group, d1, d2, select_block_size, select_block_count,
    styles=None, **arguments,
):  # fmt: skip
    """A case of the given sizes with random data; ``styles`` are the index styles to draw from."""
    t1, t2, dims = sum(q_lens), sum(kv_lens), (select_block_size, select_block_count)
    topk = [random_indices(rng, (q, n2), kv, *dims, styles) for q, kv in zip(q_lens, kv_lens)]
    return SelectCase(
        query=random_array(rng, (t1, n2 * group, d1), dtype),
        key=random_array(rng, (t2, n2, d1), dtype),
        value=random_array(rng, (t2, n2, d2), dtype, _value_offset(rng)),
        grad=random_array(rng, (t1, n2 * group, d2), dtype),
        topk_indices=np.concatenate(topk),
        select_block_size=select_block_size,
        actual_seq_qlen=_prefix_sums(q_lens),
        actual_seq_kvlen=_prefix_sums(kv_lens),
        **arguments,
    )


def random_paged_case(rng, dtype, profile=ANY, poison=False):
    """A random inference case; with ``poison``, garbage lies in everything out of use."""
    batch, s = int(rng.integers(1, 7)), int(rng.choice([1, 1, 2, 3, 4, 5, 6]))
    layout = str(rng.choice(["BSH", "BSND", "TND"]))
    q_lens = _random_q_lens(rng, batch, s, layout)
    kv_lens = [_length(rng, int(rng.choice([6, 60, 300, 300]))) for _ in range(batch)]
    page, spare = int(rng.choice(profile.page_block_sizes)), int(rng.integers(1, 4))
    cache_rows = (sum(-(-kv_len // page) for kv_len in kv_lens) + spare) * page
    sizes = _random_sizes(rng, profile, batch * s, cache_rows, max(kv_lens))
    case = make_paged_case(
        rng, dtype, layout, s, q_lens, kv_lens, **sizes,
        page_block_size=page, spare_pages=spare, spare_slots=int(rng.integers(1, 4)),
        scale_value=random_scale(rng, sizes["d1"]), sparse_mode=int(rng.choice([0, 2, 3])),
        atten_mask=random_mask(rng, s, max(kv_lens)), name="random paged",
    )  # fmt: skip
    if batch > 1 and rng.random() < 0.4 and min(kv_lens[:2]) > page:
        case.block_table[1, 0] = case.block_table[0, 0]  # a common prefix
    if s == 1 and layout != "TND" and rng.random() < 0.5:
        case.topk_indices = case.topk_indices[:, 0]
    return case.poisoned() if poison else case


def make_paged_case(
    rng, dtype, layout, s, q_lens, kv_lens, *, n2, group, d1, d2, select_block_size, select_block_count,
    page_block_size, spare_pages=0, spare_slots=0, styles=None, **arguments,
):  # fmt: skip
    """A case of the given sizes; q_lens None means S tokens each (TND: one each). Pages lie scattered."""
    batch, n1, dims = len(kv_lens), n2 * group, (select_block_size, select_block_count)
    lens = q_lens if q_lens is not None else [1 if layout == "TND" else s] * batch
    padded = lens if layout == "TND" else [s] * batch
    topk = np.concatenate([random_indices(rng, (q, n2), kv, *dims, styles) for q, kv in zip(padded, kv_lens)])
    block_table, num_blocks = _scatter_pages(rng, kv_lens, page_block_size, spare_pages, spare_slots)
    leading = (len(topk),) if layout == "TND" else (batch, s)
    heads = (n1 * d1,) if layout == "BSH" else (n1, d1)
    cache = [(n2, d) if layout == "BSND" else (n2 * d,) for d in (d1, d2)]
    return PagedCase(
        query=random_array(rng, (*leading, *heads), dtype),
        key=random_array(rng, (num_blocks, page_block_size, *cache[0]), dtype),
        value=random_array(rng, (num_blocks, page_block_size, *cache[1]), dtype, _value_offset(rng)),
        topk_indices=topk.reshape(*leading, n2, select_block_count),
        block_table=block_table,
        actual_seq_qlen=None if q_lens is None else tuple(q_lens),
        actual_seq_kvlen=tuple(kv_lens),
        head_num=n1,
        key_value_head_num=n2,
        select_block_size=select_block_size,
        page_block_size=page_block_size,
        layout=layout,
        **arguments,
    )


def _value_offset(rng):
    """Mostly none; otherwise the weighted values do not cancel and the output is large against its terms."""
    return rng.choice([0, 0, 0, 2])


def random_array(rng, shape, dtype, offset=0.0):
    return (rng.standard_normal(shape, np.float32) + np.float32(offset)).astype(dtype)


def random_indices(rng, rows, kv_len, select_block_size, select_block_count, styles=None):
    """int32 [*rows, select_block_count] for a sequence of kv_len rows, each in a style drawn at random."""
    shape = (*rows, select_block_count)
    blocks = -(-kv_len // select_block_size)
    negatives = rng.choice(NEGATIVES, shape)
    styles = styles or tuple(INDEX_STYLES)
    drawn = [INDEX_STYLES[style](rng, shape, max(blocks, 1)) for style in styles]
    choice = rng.integers(0, len(styles), rows)[..., None]
    indices = np.select([choice == i for i in range(len(styles))], drawn)
    return np.where((indices >= 0) & (blocks > 0), indices, negatives).astype(np.int32)


def _distinct(rng, shape, blocks, preferred=0):
    """Different blocks in random order, the ``preferred`` first; absent slots, if any, behind or between."""
    width = max(blocks, shape[-1])
    indices = (rng.random((*shape[:-1], width)) - preferred).argsort(axis=-1)[..., : shape[-1]]
    return np.where(indices < blocks, indices, -1)


def _local(rng, shape, blocks):
    """As a model chooses: the first block, the token's own and the one before it, then random ones."""
    block = np.arange(max(blocks, shape[-1]))
    own = ((np.arange(shape[0]) + 1) * blocks - 1) // max(shape[0], 1)
    before = own[:, None] - block
    return _distinct(rng, shape, blocks, ((block == 0) | (before == 0) | (before == 1))[:, None, :])


def _ascending(rng, shape, blocks):
    """The usual form: different blocks, ascending, absent slots at the end."""
    indices = _distinct(rng, shape, blocks)
    slots = np.sort(np.where(indices < 0, blocks, indices), axis=-1)
    return np.where(slots == blocks, -1, slots)


def _repeated(rng, shape, blocks):
    return rng.integers(0, blocks, shape)


def _holes(rng, shape, blocks):
    return np.where(rng.random(shape) < 0.4, -1, _distinct(rng, shape, blocks))


def _one_block(rng, shape, blocks):
    return np.broadcast_to(rng.integers(0, blocks, (*shape[:-1], 1)), shape)


def _last_block(rng, shape, blocks):
    """The last block, the one that is clipped, among others."""
    indices = _distinct(rng, shape, blocks).copy()
    indices[..., rng.integers(0, shape[-1])] = blocks - 1
    return indices


def _absent(rng, shape, blocks):
    return np.full(shape, -1)


INDEX_STYLES = {
    "distinct": _distinct,
    "local": _local,
    "ascending": _ascending,
    "repeated": _repeated,
    "holes": _holes,
    "one_block": _one_block,
    "last_block": _last_block,
    "absent": _absent,
}


def random_scale(rng, d1):
    """None, 0, or a float; scores stay below about 20, where float32 still resolves their differences."""
    unit = 1 / np.sqrt(d1)
    small, negative, large = unit * rng.uniform(0.1, 2), -unit * rng.uniform(0.1, 2), 4 * unit
    options = [None, 0.0, float(small), float(negative), float(large)]
    return options[rng.choice(len(options), p=[0.45, 0.08, 0.22, 0.13, 0.12])]


def random_mask(rng, rows, cols):
    """None, or bool or uint8 with non-zero = drop, larger than needed and some rows dropped altogether."""
    if rng.random() < 0.6:
        return None
    shape = max(1, rows + int(rng.integers(0, 4))), max(1, cols + int(rng.integers(0, 9)))
    drop = rng.random(shape) < rng.choice([0.1, 0.5, 0.9])
    drop |= rng.random((shape[0], 1)) < 0.15
    return drop if rng.random() < 0.5 else drop * rng.choice([1, 255], shape).astype(np.uint8)


def _random_lengths(rng):
    """Query and kv lengths of up to six sequences, up to 64 and 300 in all."""
    batch = int(rng.integers(1, 7))
    q_lens = [_length(rng, max(1, int(rng.choice([4, 12, 24, 64])) // batch)) for _ in range(batch)]
    if rng.random() < 0.25:
        return q_lens, list(q_lens)
    return q_lens, [_length(rng, max(1, int(rng.choice([5, 60, 300, 300])) // batch)) for _ in range(batch)]


def _length(rng, limit):
    return 0 if rng.random() < 0.12 else int(rng.integers(1, limit + 1))


def _random_q_lens(rng, batch, s, layout):
    if rng.random() < 0.2:
        return None
    lens = [_length(rng, s) for _ in range(batch)]
    return lens if sum(lens) or layout != "TND" else [1] * batch


def _random_sizes(rng, profile, tokens, rows, longest):
    """Sizes that the lengths leave affordable; half of the block sizes cut ``longest`` into several."""
    fine = [size for size in profile.select_block_sizes if size <= longest // 3]
    block_sizes = fine if fine and rng.random() < 0.5 else profile.select_block_sizes
    while True:
        n2, group = int(rng.integers(1, 6)), int(rng.choice(profile.groups))
        d1, d2 = (int(d) for d in rng.choice(profile.head_dims, 2))
        size, count = int(rng.choice(block_sizes)), int(rng.choice(profile.select_block_counts))
        work = tokens * n2 * group * min(size * count, longest) * (d1 + d2)
        if work <= MAX_WORK and rows * n2 * (d1 + d2) <= MAX_ELEMENTS and tokens * n2 <= MAX_INDEX_ROWS:
            return {
                "n2": n2, "group": group, "d1": d1, "d2": d2,
                "select_block_size": size, "select_block_count": count,
            }  # fmt: skip


def _prefix_sums(lengths):
    return tuple(int(end) for end in np.cumsum(lengths))


def _scatter_pages(rng, kv_lens, page_block_size, spare_pages, spare_slots):
    """block_table with the used entries pointing to pages in random order and -1 behind, and num_blocks."""
    used = [-(-kv_len // page_block_size) for kv_len in kv_lens]
    num_blocks = max(1, sum(used) + spare_pages)
    pages = iter(rng.permutation(num_blocks))
    block_table = np.full((len(kv_lens), max(1, max(used) + spare_slots)), -1, np.int32)
    for b, count in enumerate(used):
        block_table[b, :count] = [next(pages) for _ in range(count)]
    return block_table, num_blocks


def short_masks(rng, case):
    """Twice the same case: with a mask that is too small, and with one that drops all that it does not cover.

    Kv rows that nobody sees then are poisoned.
    """
    paged = isinstance(case, PagedCase)
    q_lens = case.q_lens if paged else np.diff(case.q_ends, prepend=0)
    kv_lens = case.actual_seq_kvlen if paged else np.diff(case.kv_ends, prepend=0)
    longest = rows, cols = max(q_lens), max(kv_lens)
    short = rng.choice(["rows", "columns", "both"] if rows > 1 else ["columns"])
    rows = rows if short == "columns" else int(rng.integers(1, rows))
    cols = cols if short == "rows" else int(rng.integers(1, max(cols, 2)))
    mask = rng.random((rows, cols)) < 0.3 if rng.random() < 0.5 else np.zeros((rows, cols), bool)
    whole = np.ones(np.maximum(longest, mask.shape), bool)
    whole[:rows, :cols] = mask
    dropped = replace(case, atten_mask=whole).poisoned()
    return replace(dropped, atten_mask=mask), dropped
