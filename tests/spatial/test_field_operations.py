# SPDX-License-Identifier: Apache-2.0
"""What resizing, composition and integration have in common."""

import pytest
import torch

from scripts.spatial import compose, integrate, resize_field
from tests.spatial.examples import smooth


def test_scripted_is_the_same() -> None:
    field, other = smooth(21, 7, 8, 6).float(), smooth(22, 7, 8, 6).float()
    assert torch.equal(torch.jit.script(resize_field)(field, [14, 4, 9]), resize_field(field, [14, 4, 9]))
    assert torch.equal(torch.jit.script(compose)(field, other), compose(field, other))
    assert torch.equal(torch.jit.script(integrate)(field), integrate(field))
    assert torch.equal(torch.jit.script(integrate)(field, 3), integrate(field, 3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_dtype_of_the_field_is_kept(dtype: torch.dtype) -> None:
    field = smooth(23, 4, 5, 6).to(dtype)
    for result in (resize_field(field, [2, 2, 2]), compose(field, field), integrate(field)):
        assert result.dtype == dtype


def test_inputs_are_not_modified() -> None:
    field = smooth(24, 5, 5, 5)
    before = field.clone()
    resize_field(field, [3, 3, 3])
    compose(field, field)
    integrate(field, steps=0)
    integrate(field)
    assert torch.equal(field, before)
