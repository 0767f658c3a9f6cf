# SPDX-License-Identifier: Apache-2.0
"""Random arguments of compression, compressed attention and the sliding window, and the plainest way to compute
the results: loops over tokens, heads and single rows."""

import numpy as np


def random_lengths(rng):
    """Rows of a few packed sequences, some of them 0."""
    lens = rng.integers(0, 40, rng.integers(1, 4))
    return lens * rng.choice([0, 1, 1, 1], len(lens))


def random_compressed_arguments(rng, sparse_mode=None, masks=True):
    """Keyword arguments of nsa_compress_attention; every key row that is not in use is NaN."""
    stride = int(rng.integers(1, 6))
    size = stride + int(rng.integers(0, 7))
    n2, group, d1, d2 = (int(rng.integers(1, high)) for high in (4, 4, 6, 6))
    kv_lens = random_lengths(rng)
    q_lens = rng.integers(0, np.maximum(kv_lens, 4) + 3)
    rows = sum(len(range(0, n - size + 1, stride)) for n in kv_lens)
    spare, forced = int(rng.integers(0, 3)), (int(rng.integers(0, 3)), int(rng.integers(0, 3)))
    shape, key_shape = (q_lens.sum(), n2 * group), (rows + spare, n2)
    key, value = rng.standard_normal((*key_shape, d1)), rng.standard_normal((*key_shape, d2))
    key[rows:], value[rows:] = np.nan, np.nan
    limit = int(q_lens.max(initial=0)) + 1, int(kv_lens.max(initial=0)) + 1
    return {
        "query": rng.standard_normal((*shape, d1)),
        "key": key,
        "value": value,
        "scale_value": float(rng.choice([0.7, -1.3])),
        "head_num": n2 * group,
        "compress_block_size": size,
        "compress_stride": stride,
        "select_block_size": int(rng.integers(1, 9)),
        "select_block_count": sum(forced) + int(rng.integers(0, 4)),
        "topk_mask": rng.random(limit) < 0.15 if masks and rng.random() < 0.4 else None,
        "atten_mask": (rng.random(limit) < 0.4).astype(np.uint8) if masks and rng.random() < 0.4 else None,
        "actual_seq_qlen": tuple(np.cumsum(q_lens).tolist()),
        "actual_seq_kvlen": tuple(np.cumsum(kv_lens).tolist()),
        "sparse_mode": int(rng.choice([0, 2, 3])) if sparse_mode is None else sparse_mode,
        "init_blocks": forced[0],
        "local_blocks": forced[1],
    }


def random_window_arguments(rng):
    """Keyword arguments of nsa_window_attention."""
    n2, group, d1, d2 = (int(rng.integers(1, high)) for high in (4, 4, 6, 6))
    kv_lens = random_lengths(rng)
    q_lens = rng.integers(0, np.maximum(kv_lens, 4) + 3)
    return {
        "query": rng.standard_normal((q_lens.sum(), n2 * group, d1)),
        "key": rng.standard_normal((kv_lens.sum(), n2, d1)),
        "value": rng.standard_normal((kv_lens.sum(), n2, d2)),
        "scale_value": None,
        "head_num": n2 * group,
        "window_size": int(rng.integers(1, 20)),
        "actual_seq_qlen": tuple(np.cumsum(q_lens).tolist()),
        "actual_seq_kvlen": tuple(np.cumsum(kv_lens).tolist()),
    }


def plain_attention(query, keys, values, scale):
    """One query over a list of rows: output, maximum, sum and probabilities, without shifted exponents."""
    if not len(keys):
        return 0, -np.inf, 0, np.zeros(0)
    scores = [scale * sum(q * k for q, k in zip(query, key)) for key in keys]
    exponentials = np.exp(scores)
    probabilities = exponentials / exponentials.sum()
    out = sum(p * row for p, row in zip(probabilities, values))
    return out, max(scores), exponentials.sum() / np.exp(max(scores)), probabilities


def plain_tokens(arguments, sparse_mode):
    """(token, sequence, index, position, rows of the sequence) of every token."""
    q_ends, kv_ends = arguments["actual_seq_qlen"], arguments["actual_seq_kvlen"]
    token = 0
    for b in range(len(q_ends)):
        q_len, kv_len = (ends[b] - (ends[b - 1] if b else 0) for ends in (q_ends, kv_ends))
        for s in range(q_len):
            yield token, b, s, (s if sparse_mode == 2 else s - q_len + kv_len), kv_len
            token += 1


def plain_compressed_attention(query, key, value, scale_value, head_num, **rest):
    """attention_out, topk_indices, softmax_max, softmax_sum (one lane) and {(token, head): importance}."""
    size, d, lb = (rest[name] for name in ("compress_block_size", "compress_stride", "select_block_size"))
    n2, group = key.shape[1], head_num // key.shape[1]
    out, top, total = np.zeros((*query.shape[:2], value.shape[2])), *np.zeros((2, *query.shape[:2]))
    topk, importances = np.full((len(query), n2, rest["select_block_count"]), -1), {}
    kv_lens, mode = np.diff(rest["actual_seq_kvlen"], prepend=0), rest["sparse_mode"]
    first_row = [sum(len(range(0, kv_len - size + 1, d)) for kv_len in kv_lens[:b]) for b in range(len(kv_lens))]
    for token, b, s, p, kv_len in plain_tokens(rest, mode):
        windows = [c for c in range(len(range(0, kv_len - size + 1, d))) if mode == 0 or c * d + size - 1 <= p]
        if rest["atten_mask"] is not None:
            windows = [c for c in windows if not rest["atten_mask"][s, c]]
        for h in range(n2):
            rows = [first_row[b] + c for c in windows]
            importance = {j: 0.0 for j in range(-(-kv_len // lb)) if mode == 0 or j * lb <= p}
            for head in range(h * group, (h + 1) * group):
                found = plain_attention(query[token, head], key[rows, h], value[rows, h], scale_value)
                out[token, head], top[token, head], total[token, head], probabilities = found
                for c, probability in zip(windows, probabilities):
                    for row in range(c * d, c * d + size):
                        importance[row // lb] += probability / d
            importances[token, h] = list(importance.values())
            topk[token, h] = plain_choice(importance, s, p // lb, rest)
    return out, topk, top, total, importances


def plain_choice(importance, s, own, rest):
    """Takes block after block."""
    n, left = rest["select_block_count"], list(importance)
    forced = {j for j in left if j < rest["init_blocks"] or own - rest["local_blocks"] < j <= own}
    if rest["topk_mask"] is not None:
        forced |= {j for j in left if rest["topk_mask"][s, j]}
    taken = sorted(forced)[:n]
    while len(taken) < n and set(left) - set(taken):
        most = max(importance[j] for j in left if j not in taken)
        taken.append(min(j for j in left if j not in taken and importance[j] == most))
    return sorted(taken) + [-1] * (n - len(taken))


def plain_window_attention(query, key, value, scale_value, head_num, window_size, **lengths):
    """attention_out, softmax_max, softmax_sum (one lane)."""
    group, scale = head_num // key.shape[1], query.shape[2] ** -0.5 if scale_value is None else scale_value
    out, top, total = np.zeros((*query.shape[:2], value.shape[2])), *np.zeros((2, *query.shape[:2]))
    first_row = [0, *lengths["actual_seq_kvlen"]]
    for token, b, _, p, kv_len in plain_tokens(lengths, 3):
        rows = [first_row[b] + j for j in range(kv_len) if p - window_size < j <= p]
        for head in range(head_num):
            found = plain_attention(query[token, head], key[rows, head // group], value[rows, head // group], scale)
            out[token, head], top[token, head], total[token, head], _ = found
    return out, top, total
