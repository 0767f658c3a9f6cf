# SPDX-License-Identifier: Apache-2.0
"""Shape inference from op_info in pure Python. The package uses the library instead; tests compare the two."""

from ms_nsa import op_language as language
from ms_nsa import op_reader as reader
from ms_nsa.registry import attributes as attributes_of
from ms_nsa.registry import load, outputs


def output_shapes(operator, attributes, shapes):
    """Shapes of the CPU's outputs, -1 where an extent is unknown.

    Args:
        operator (str): name of the operator.
        attributes (dict): values of the primitive's attributes.
        shapes (tuple): shape tuple of every input.

    Raises:
        ValueError: If every extent is known and a rule of op_info does not hold.
    """
    known = reader.values(operator, attributes, shapes)
    if all(extent >= 0 for shape in shapes for extent in shape):
        _check(operator, known)
    forms = [_form(operator, item["shape"], known) for item in outputs(operator, "cpu", attributes)]
    return tuple(
        tuple(-1 if extent is None else extent for extent in _extents(operator, form, known)) for form in forms
    )


def _check(operator, known):
    info = load(operator)
    for attribute in attributes_of(operator, "cpu"):
        if attribute.get("is") == "size" and known[attribute["name"]] < 1:
            _fail(operator, f"{attribute['name']} must be at least 1, got {known[attribute['name']]}")
    for tensor in info["inputs"]:
        if language.is_source(info, tensor["name"]) or not language.is_exact(info, tensor["shape"]):
            _check_rank(operator, tensor, known)
    for condition, message in language.rules(info):
        reader.check_rule(operator, condition, message, known)
    for tensor in info["inputs"]:
        if language.is_exact(info, tensor["shape"]):
            _check_shape(operator, tensor, known)


def _fail(operator, sentence):
    raise ValueError(f"{operator}: {sentence}")


def _branch(operator, shape, known):
    for condition, forms in language.branches(shape):
        if condition is None or reader.value(operator, condition, known):
            return forms
    return []


def _check_rank(operator, tensor, known):
    shape = known[tensor["name"]]
    if shape == reader.ABSENT and (tensor.get("optional") or tensor.get("given_as") == "lengths"):
        return
    forms = _branch(operator, tensor["shape"], known)
    if len(shape) not in [len(form.dims) for form in forms]:
        text = " or ".join(f"{len(form.dims)} {form.text}" for form in forms)
        _fail(operator, f"{tensor['name']} must have rank {text}, got shape {list(shape)}")


def _form(operator, shape, known, rank=None):
    """The form that fits, or the first one."""
    first, *others = _branch(operator, shape, known)
    for form in others:
        fits = rank is None or len(form.dims) == rank
        if fits and (form.only_if is None or reader.value(operator, form.only_if, known)):
            return form
    return first


def _extents(operator, form, known):
    return [reader.value(operator, dim, known) for dim in form.dims]


def _check_shape(operator, tensor, known):
    shape = known[tensor["name"]]
    if shape == reader.ABSENT and tensor.get("optional"):
        return
    form = _form(operator, tensor["shape"], known, len(shape))
    wanted = _extents(operator, form, known)
    if list(shape) != wanted:
        _fail(operator, f"{tensor['name']} must have shape {form.text} = {wanted}, got shape {list(shape)}")
