"""TinyViT as SAM's image encoder: convolutions, then attention in windows with a learnt term for each distance."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voxsam.models.layers import LayerNorm2d
from voxsam.models.products import Linear, PixelLinear
from voxsam.models.windows import join_windows, split_windows

__all__ = ["TinyViT", "fold_norms"]


class TinyViT(nn.Module):
    """Encode a square image into a grid of features.

    Parameters are named as in the published ``mobile_sam.pt`` and ``lite_medsam.pt``. `fold_norms` makes a network
    that holds its weights faster; until then it can be trained.

    Parameters
    ----------
    input_size : int
        Side of the image in pixels.
    widths : sequence of int
        Channels of each stage; the first is of convolutions, the others of attention.
    depths : sequence of int
        Blocks of each stage.
    heads : sequence of int
        Attention heads of each stage; the first has none, and its number is not used.
    windows : sequence of int
        Side of each stage's windows, likewise.
    stem : {4, 1}
        Pixels of the image to a cell of the first stage: 4 by two convolutions with a stride, 1 by two without.
    channels : int
        Of the result.

    Examples
    --------
    >>> import torch
    >>> sizes = dict(widths=(8, 8, 16, 16), depths=(1, 1, 1, 1), heads=(1, 1, 2, 2), windows=(3, 3, 3, 3))
    >>> encoder = TinyViT(input_size=64, channels=32, **sizes).eval()
    >>> encoder(torch.zeros(1, 3, 64, 64)).shape, encoder.grid
    (torch.Size([1, 32, 4, 4]), 4)
    """

    def __init__(
        self,
        *,
        input_size: int = 1024,
        widths: Sequence[int] = (64, 128, 160, 320),
        depths: Sequence[int] = (2, 2, 6, 2),
        heads: Sequence[int] = (2, 4, 5, 10),
        windows: Sequence[int] = (7, 7, 14, 7),
        stem: int = 4,
        channels: int = 256,
    ) -> None:
        super().__init__()
        self.grid = input_size // stem // 4  # side of the result: two of the three steps between stages halve it
        self.patch_embed = Stem(widths[0], stride=stem)
        strides = (2, 2, 1)  # the published encoders keep the third stage's grid for the fourth
        steps = [Downsample(a, b, stride=s) for (a, b), s in zip(pairwise(widths), strides, strict=True)]
        first = Stage([ConvBlock(widths[0]) for _ in range(depths[0])], steps[0])
        others = (
            Stage([AttentionBlock(width, count, window=window) for _ in range(depth)], step)
            for width, depth, count, window, step in zip(
                widths[1:], depths[1:], heads[1:], windows[1:], (*steps[1:], None), strict=True
            )
        )
        self.layers = nn.ModuleList([first, *others])
        self.neck = nn.Sequential(
            PixelLinear(widths[-1], channels, kernel_size=1, bias=False),
            LayerNorm2d(channels),
            nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False),
            LayerNorm2d(channels),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Encode ``(B, 3, input_size, input_size)`` into ``(B, channels, grid, grid)``."""
        x = self.patch_embed(image.contiguous(memory_format=torch.channels_last))
        for stage in self.layers:
            x = stage(x)
        features: Tensor = self.neck(x)
        return features.contiguous()


def fold_norms(network: nn.Module) -> None:
    """Put each batch normalisation into the convolution before it, in place: the same answers, in less time.

    Parameters
    ----------
    network : Module
        With its weights. It cannot be trained afterwards, nor take published weights.

    Examples
    --------
    >>> import torch
    >>> block = ConvBlock(4).eval()
    >>> x = torch.ones(1, 4, 5, 5)
    >>> before = block(x)
    >>> fold_norms(block)
    >>> type(block.conv2).__name__, bool((block(x) - before).abs().max() < 1e-6)
    ('Conv2d', True)
    """
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, ConvNorm):
                setattr(module, name, child.folded())


class ConvNorm(nn.Module):
    """A convolution and its batch normalisation."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.c = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
        self.bn = BatchNorm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.bn(self.c(x))
        return result

    def folded(self) -> nn.Conv2d:
        """Return the one convolution that does the same."""
        scale = self.bn.weight * (self.bn.running_var + self.bn.eps).rsqrt()
        layer = PixelLinear if self.kernel == 1 else nn.Conv2d
        folded = layer(
            self.c.in_channels, self.c.out_channels, self.kernel, self.stride, padding=self.kernel // 2,
            groups=self.c.groups, device="meta",
        )  # fmt: skip
        weight = (self.c.weight * scale[:, None, None, None]).detach()
        bias = (self.bn.bias - self.bn.running_mean * scale).detach()
        state = {"weight": weight.contiguous(memory_format=torch.channels_last), "bias": bias}
        folded.load_state_dict(state, assign=True)
        return folded


class BatchNorm(nn.Module):
    """Batch normalisation by the statistics of a training that is over; without a counter of its batches."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


class Stem(nn.Module):
    """Two convolutions from pixels to the first stage."""

    def __init__(self, width: int, *, stride: int) -> None:
        super().__init__()
        kernel, step = (3, 2) if stride == 4 else (1, 1)
        self.seq = nn.Sequential(
            ConvNorm(3, width // 2, kernel, stride=step), nn.GELU(), ConvNorm(width // 2, width, kernel, stride=step)
        )

    def forward(self, image: Tensor) -> Tensor:
        result: Tensor = self.seq(image)
        return result


class Stage(nn.Module):
    """Blocks on one grid, and the step to the next stage's."""

    def __init__(self, blocks: Sequence[nn.Module], downsample: nn.Module | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        if self.downsample is not None:
            x = self.downsample(x)
        return x


class Downsample(nn.Module):
    """Other channels, and a coarser grid where `stride` says so."""

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(inputs, outputs)
        self.conv2 = ConvNorm(outputs, outputs, 3, stride=stride, groups=outputs)
        self.conv3 = ConvNorm(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.conv1(x))
        x = F.gelu(self.conv2(x))
        result: Tensor = self.conv3(x)
        return result


class ConvBlock(nn.Module):
    """An inverted bottleneck: more channels, one 3 x 3 convolution on each, and back."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(width, 4 * width)
        self.conv2 = ConvNorm(4 * width, 4 * width, 3, groups=4 * width)
        self.conv3 = ConvNorm(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        y = F.gelu(self.conv1(x))
        y = F.gelu(self.conv2(y))
        return F.gelu(x + self.conv3(y))


class AttentionBlock(nn.Module):
    """Attention in windows, a 3 x 3 convolution on each channel, and a feed-forward."""

    def __init__(self, width: int, heads: int, *, window: int) -> None:
        super().__init__()
        self.window = window
        self.attn = WindowAttention(width, heads, side=window)
        self.local_conv = ConvNorm(width, width, 3, groups=width)
        self.mlp = NormedFeedForward(width, 4 * width)

    def forward(self, x: Tensor) -> Tensor:
        B, C, H, W = x.shape
        tokens = x.permute(0, 2, 3, 1)  # (B, H, W, C), which lie side by side in a channels-last map
        mixed = self.attn(split_windows(tokens, self.window).reshape(-1, self.window**2, C))
        mixed = join_windows(mixed.view(-1, self.window, self.window, C), (H, W))
        tokens = self.local_conv((tokens + mixed).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        tokens = tokens + self.mlp(tokens)
        return tokens.permute(0, 3, 1, 2)  # type: ignore[no-any-return]


class WindowAttention(nn.Module):
    """Multi-head self-attention within a square window, with a learnt term for each distance in rows and columns."""

    places: Tensor

    def __init__(self, width: int, heads: int, *, side: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv = Linear(width, 3 * width)  # of each head in turn
        self.proj = Linear(width, width)
        self.attention_biases = nn.Parameter(torch.zeros(heads, side * side))
        # device given: these are constants, so they exist on a network that is built without memory too
        self.register_buffer("places", distances(side), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        N, T, C = x.shape
        qkv = self.qkv(self.norm(x)).view(N, T, self.heads, 3, C // self.heads)
        terms = self.attention_biases[:, self.places]  # (heads, T, T)
        eager_cpu = x.device.type == "cpu" and not torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        mixed = mix_by_head(qkv, terms) if eager_cpu else mix_at_once(qkv, terms)
        return self.proj(mixed)  # type: ignore[no-any-return]


def mix_at_once(qkv: Tensor, terms: Tensor) -> Tensor:
    """Softmax attention of ``(N, T, heads, 3, D)``, with ``(heads, T, T)`` terms, to ``(N, T, heads * D)``."""
    q, k, v = qkv.permute(3, 0, 2, 1, 4)  # each (N, heads, T, D)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=terms).transpose(1, 2).flatten(2)


def mix_by_head(qkv: Tensor, terms: Tensor) -> Tensor:
    """Do as `mix_at_once`, a head at a time: nothing is copied, and a head's scores stay in the processor's cache."""
    mixed = []
    for head, term in enumerate(terms):
        q, k, v = qkv[:, :, head].unbind(2)  # each (N, T, D)
        scores = torch.baddbmm(term, q, k.transpose(1, 2), alpha=q.shape[-1] ** -0.5)
        mixed.append(torch.bmm(scores.softmax(-1), v))
    return torch.cat(mixed, dim=-1)


class NormedFeedForward(nn.Module):
    """Two linear layers after a normalisation."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1 = Linear(width, hidden)
        self.fc2 = Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.fc2(F.gelu(self.fc1(self.norm(x))))
        return result


def distances(side: int) -> Tensor:
    """Give the pairs of cells of a window, ``(side ** 2, side ** 2)``, the number of their distance: rows first.

    Examples
    --------
    >>> distances(2)[0].tolist()
    [0, 1, 2, 3]
    """
    cells = torch.arange(side * side, device="cpu")
    rows, columns = cells // side, cells % side
    return (rows[:, None] - rows).abs() * side + (columns[:, None] - columns).abs()
