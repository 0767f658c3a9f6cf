# SPDX-License-Identifier: Apache-2.0
"""Makes the primitives of an operator for the device in use."""

from ms_nsa import checks
from ms_nsa.primitive import ascend, cpu


def make_primitives(operator, attributes, device, gradient=None):
    """Builds the primitives of an operator for the device in use.

    Args:
        operator (str): name of the operator, as in op_info.
        attributes (dict): values of the primitive's attributes.
        device (str): whose dtypes are accepted, "cpu" or "ascend".
        gradient (tuple, optional): a function that makes the primitive's gradient function, and what it is given.

    Returns:
        tuple of what is called with the inputs of op_info: for known shapes, and for graphs with dynamic shapes.

    Raises:
        RuntimeError: If the device in use is Ascend and this installation has no kernels that fit.
    """
    if checks.device_target() == "ascend":
        return ascend.make_ascend(operator, attributes, device, gradient)
    return tuple(cpu.cpu_primitive(operator, attributes, device, gradient, known) for known in (True, False))
