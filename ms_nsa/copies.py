# SPDX-License-Identifier: Apache-2.0
"""Primitives that can be copied and pickled, so that Cells can be too. MindSpore's ops.Custom cannot."""

import copy
import functools

from mindspore import ops


class CopyableCustom(ops.Custom):
    """An ops.Custom whose copy is made by the same call, and then gets the attributes that were set later."""

    made_by = None  # the function and its arguments

    def __deepcopy__(self, memo):
        make, arguments = self.made_by
        return _made_like(make, copy.deepcopy(arguments, memo), *self._set_since())

    def __reduce_ex__(self, protocol):
        return _made_like, (*self.made_by, *self._set_since())

    def _clone(self):
        return copy.deepcopy(self)

    def _set_since(self):
        return dict(self.attrs), getattr(self, "instance_name", None)


def copyable(make):
    """Decorates a module-level function that makes a CopyableCustom; copies are made by the same call."""

    @functools.wraps(make)
    def made(*arguments):
        primitive = make(*arguments)
        primitive.made_by = made, arguments
        return primitive

    return made


def _made_like(make, arguments, attributes, instance_name):
    primitive = make(*arguments)
    for name in set(primitive.attrs) - set(attributes):
        primitive.del_prim_attr(name)
    for name, value in attributes.items():
        if primitive.attrs.get(name) != value:
            primitive.add_prim_attr(name, value)
    if instance_name is not None:
        primitive.set_prim_instance_name(instance_name)
    return primitive
