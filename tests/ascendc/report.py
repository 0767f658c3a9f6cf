"""What a kernel with the debug flag leaves at the start of its workspace, as the documented sentence."""

import numpy as np

LENGTHS = ("actual_seq_qlen", "actual_seq_kvlen")
INDEX_RULE = "be below ceil(Sk / select_block_size)"


def sentence(workspace, layout=None):
    """The first rule of ms_nsa::FirstError that is broken; None if none is. layout: of paged inference."""
    rule, of_keys, *where, value, bound, _ = workspace[:64].view(np.int64).tolist()
    lengths = LENGTHS[of_keys]
    rows = "max_blocks * page_block_size" if of_keys else "T" if layout == "TND" else "S"
    pages = f"hold page ids from 0 to {bound - 1} where blocks are selected"
    at = f"at token {where[0]}, kv head {where[1]}, slot {where[2]}"
    return [
        None,
        f"{lengths} must not be negative, got {value} at entry 0",
        f"{lengths} must not decrease, got {value} at entry {where[0]} after {where[1]}",
        f"{lengths} must end at {'T2' if of_keys else 'T1'} = {bound}, got {value}",
        f"{lengths} must be from 0 to {rows} = {bound}, got {value} at sequence {where[0]}",
        f"{lengths} must sum to T = {bound}, got {value}",
        f"topk_indices must {INDEX_RULE} = {bound}, got {value} {at}",
        f"block_table must {pages}, got {value} at sequence {where[0]}, slot {where[1]}",
    ][rule]
