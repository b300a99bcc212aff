from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from voxsam.models import products
from voxsam.models.products import Linear, PixelLinear, linear, row_products

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def nobody_asks_for_gradients() -> object:
    with torch.no_grad():
        yield


@pytest.mark.parametrize("x", [
    torch.randn(20, 48), torch.randn(2, 3, 5, 48), torch.randn(48), torch.randn(0, 48),
    torch.randn(48, 30).T, torch.randn(1, 48, 6, 7).permute(0, 2, 3, 1), torch.randn(2, 40, 48)[:, ::2],
], ids=["matrix", "grid", "vector", "empty", "turned", "channels first", "every second"])  # fmt: skip
@pytest.mark.parametrize("turned", [False, True])
def test_the_product_is_torchs(x: Tensor, turned: bool) -> None:
    weight = torch.randn(48, 33).T if turned else torch.randn(33, 48)
    for bias in (None, torch.randn(33)):
        torch.testing.assert_close(linear(x, weight, bias), F.linear(x, weight, bias), atol=1e-5, rtol=1e-5)


def test_the_product_is_one_of_single_precision() -> None:
    x, weight = torch.randn(64, 3072), torch.randn(40, 3072)
    exact = x.double() @ weight.double().T
    assert float((linear(x, weight) - exact).norm() / exact.norm()) < 2e-6  # bfloat16 would give 3e-3, tf32 3e-4


@pytest.mark.parametrize("batch", [1, 3])
def test_rows_are_multiplied_with_rows(batch: int) -> None:
    a, b = torch.randn(batch, 5, 8), torch.randn(batch, 8, 7).transpose(1, 2)
    torch.testing.assert_close(row_products(a, b), a @ b.transpose(1, 2), atol=1e-5, rtol=1e-5)


def test_layers_answer_as_torchs_do() -> None:
    layer, pixels = Linear(8, 5), PixelLinear(8, 5, kernel_size=1)
    x, image = torch.randn(3, 8), torch.randn(2, 8, 3, 4)
    torch.testing.assert_close(layer(x), F.linear(x, layer.weight, layer.bias), atol=1e-6, rtol=1e-5)
    expected = F.conv2d(image, pixels.weight, pixels.bias)
    for given in (image, image.contiguous(memory_format=torch.channels_last)):
        torch.testing.assert_close(pixels(given), expected, atol=1e-6, rtol=1e-5)


def test_layers_can_be_trained_and_autocast() -> None:
    layer = torch.nn.Sequential(PixelLinear(8, 5, kernel_size=1), torch.nn.Flatten(), Linear(5, 1))
    with torch.enable_grad():
        layer(torch.randn(1, 8, 1, 1)).sum().backward()
    assert all(p.grad is not None for p in layer.parameters())
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(1, 8, 1, 1)).dtype == torch.bfloat16


@pytest.mark.parametrize("fault", [AttributeError("no such operator"), RuntimeError("another signature"), None])
def test_a_torch_that_has_no_such_operator_multiplies_itself(
    monkeypatch: pytest.MonkeyPatch, fault: Exception | None
) -> None:
    def other(*_: object) -> Tensor:
        if fault is not None:
            raise fault
        return torch.zeros(2, 4)  # a wrong answer

    monkeypatch.setattr(products, "_onednn", other)
    products._product.cache_clear()
    try:
        assert products._product() is F.linear
    finally:
        products._product.cache_clear()


def test_a_torch_without_onednn_multiplies_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.backends.mkldnn.is_available", lambda: False)
    products._product.cache_clear()
    try:
        assert products._product() is F.linear
    finally:
        products._product.cache_clear()
