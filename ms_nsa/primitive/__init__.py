# SPDX-License-Identifier: Apache-2.0
"""From op_info to MindSpore's primitives: one module per trade.

Every operator has two primitives that differ only in shape inference: one with named Python functions, which check the
arguments and raise TypeError or ValueError, and one with the library's C++ functions, because a graph with dynamic
shapes cannot call Python ("The prim is not a PrimitivePy"). On Ascend each is wrapped in a Cell that is called like the
CPU's primitive.
"""
