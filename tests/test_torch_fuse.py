# SPDX-License-Identifier: Apache-2.0
"""Only batch normalisation that alone reads its convolution is fused, and the module is whole afterwards."""

from __future__ import annotations

from typing import Any

from tests.needs import needs

needs("torch")


def blocks() -> Any:
    """One pair that can be fused; another's output is added later, returned, or its convolution runs twice."""
    from torch import Tensor, nn

    class Blocks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            convolutions = (nn.Conv2d(3, 3, 1, bias=False) for _ in range(4))
            self.plain, self.added, self.returned, self.twice = convolutions
            self.norms = nn.ModuleList(nn.BatchNorm2d(3) for _ in range(4))

        def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
            first = self.norms[0](self.plain(images)).relu_()
            added = self.added(first)
            second = self.norms[1](added) + added
            returned = self.returned(second)
            third = self.norms[3](self.twice(self.twice(self.norms[2](returned))))
            return third, returned

    return Blocks()


def test_only_what_nothing_else_reads_is_fused_and_all_is_put_back() -> None:
    import torch

    from sightline.builders.sources.torch_fuse import _pairs, fused

    torch.manual_seed(1)
    module = blocks()
    module(torch.rand(8, 3, 5, 5))  # statistics
    module.eval()
    images = torch.rand(2, 3, 5, 5)
    before = {name: id(value) for name, value in module.state_dict(keep_vars=True).items()}
    assert _pairs(module, images) == [(module.plain, module.norms[0])]
    with torch.no_grad():
        wanted = module(images)
        with fused(module, images[:1]):
            assert module.plain.bias is not None
            for found, want in zip(module(images), wanted, strict=True):
                torch.testing.assert_close(found, want)
        assert all(torch.equal(*both) for both in zip(module(images), wanted, strict=True))
    assert {name: id(value) for name, value in module.state_dict(keep_vars=True).items()} == before
    assert all("forward" not in vars(part) and not part._forward_hooks for part in module.modules())


def test_a_module_that_does_not_run_is_left_alone() -> None:
    import torch
    from torch import nn

    from sightline.builders.sources.torch_fuse import fused

    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Linear(7, 1)).eval()
    with fused(module, torch.rand(1, 3, 5, 5)):
        assert "forward" not in vars(module[1])
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())
