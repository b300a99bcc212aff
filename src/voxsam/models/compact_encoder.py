"""The image encoder of the embedded default: convolutions down to 1/16, attention there, a pyramid back up."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["CHANNELS", "MATCH_HEADS", "STRIDES", "Attention", "CompactEncoder", "ConvNorm", "channel_norm", "double"]

#: The image features: what each is called, its channels, and how many input pixels one of its cells spans.
CHANNELS = {"half": 16, "quarter": 32, "eighth": 64, "sixteenth": 128, "match": 32}
STRIDES = {"half": 2, "quarter": 4, "eighth": 8, "sixteenth": 16, "match": 4}
MATCH_HEADS = 4


class ConvNorm(nn.Module):
    """A 3x3 or 1x1 convolution with batch normalisation, which `fold` merges into the convolution."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1, relu: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(outputs)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (B, C, H, W), normalise, and cut below zero unless told otherwise."""
        x = self.norm(self.conv(x))
        return F.relu(x, inplace=True) if self.relu else x

    def fold(self) -> None:
        """Merge the normalisation into the convolution; the output stays the same in evaluation mode."""
        norm = self.norm
        if not isinstance(norm, nn.BatchNorm2d) or norm.running_mean is None or norm.running_var is None:
            return
        scale = norm.weight.detach() / torch.sqrt(norm.running_var + norm.eps)
        conv = self.conv
        conv.weight = nn.Parameter(conv.weight.detach() * scale[:, None, None, None])
        conv.bias = nn.Parameter(norm.bias.detach() - norm.running_mean * scale)
        self.norm = nn.Identity()


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvNorm(channels, channels)
        self.second = ConvNorm(channels, channels, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(self.first(x)))


class Attention(nn.Module):
    """Multi-head attention with its own inner width, as plain matrix products.

    torch's fused kernel is slower in the backward pass on a CPU at these lengths.
    """

    def __init__(self, width: int, *, inner: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, inner)
        self.key = nn.Linear(width, inner)
        self.value = nn.Linear(width, inner)
        self.out = nn.Linear(inner, width)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
        """Mix values (B, Nk, C) for each query (B, Nq, C); `bias` is added to the scores (B, heads, Nq, Nk)."""
        q, k, v = self._split(self.query(query)), self._split(self.key(key)), self._split(self.value(value))
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)  # (B, heads, Nq, Nk)
        if bias is not None:
            scores = scores + bias
        mixed = scores.softmax(-1).to(v.dtype) @ v  # (B, heads, Nq, inner / heads)
        return self.out(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def _split(self, x: Tensor) -> Tensor:
        B, N, C = x.shape
        return x.view(B, N, self.heads, C // self.heads).transpose(1, 2)


class TransformerBlock(nn.Module):
    """A pre-normalised block: attention beside a convolution (which knows positions), then a perceptron.

    Every branch reads normalised tokens and is scaled before it is added. A convolution of the raw stream would let
    the stream double with each block until the attention no longer counts.
    """

    def __init__(self, width: int, heads: int, *, branch_scale: float = 0.1) -> None:
        super().__init__()
        self.position = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.scale0 = nn.Parameter(torch.full((width,), 3 * branch_scale))
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, inner=width, heads=heads)
        self.scale1 = nn.Parameter(torch.full((width,), branch_scale))
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.scale2 = nn.Parameter(torch.full((width,), branch_scale))

    def forward(self, x: Tensor) -> Tensor:
        B, C, H, W = x.shape
        tokens = x.flatten(2).transpose(1, 2)  # (B, H*W, C)
        normal = self.norm1(tokens)
        local = self.position(normal.transpose(1, 2).reshape(B, C, H, W)).flatten(2).transpose(1, 2)
        tokens = tokens + self.scale0 * local + self.scale1 * self.attention(normal, normal, normal)
        mixed: Tensor = tokens + self.scale2 * self.mlp(self.norm2(tokens))
        return mixed.transpose(1, 2).reshape(B, C, H, W)


class CompactEncoder(nn.Module):
    """Image to feature pyramid: convolutions down to 1/16, attention there, and a path back up to 1/2.

    Parameters
    ----------
    blocks : int
        Transformer blocks at 1/16.
    """

    def __init__(self, *, blocks: int = 4) -> None:
        super().__init__()
        self.stage2 = nn.Sequential(ConvNorm(3, 24, stride=2), ConvNorm(24, 24))
        self.stage4 = nn.Sequential(ConvNorm(24, 48, stride=2), ResidualBlock(48))
        self.stage8 = nn.Sequential(ConvNorm(48, 96, stride=2), ResidualBlock(96), ResidualBlock(96))
        self.stage16 = nn.Sequential(ConvNorm(96, 192, stride=2), ResidualBlock(192))
        self.blocks = nn.Sequential(*(TransformerBlock(192, heads=6) for _ in range(blocks)))
        self.norm = nn.LayerNorm(192)
        self.out16 = nn.Conv2d(192, CHANNELS["sixteenth"], 1)
        self.down8 = nn.Conv2d(192, 96, 1)
        self.fuse8 = ConvNorm(96, 96)
        self.out8 = nn.Conv2d(96, CHANNELS["eighth"], 1)
        self.down4 = nn.Conv2d(96, 48, 1)
        self.fuse4 = ConvNorm(48, 48)
        self.out4 = nn.Conv2d(48, CHANNELS["quarter"], 1)
        self.match = nn.Conv2d(48, CHANNELS["match"], 1)
        self.down2 = nn.Conv2d(48, 24, 1)
        self.fuse2 = ConvNorm(24, CHANNELS["half"])

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Encode (B, 3, H, W) images in 0..1 to the maps named in `CHANNELS`, (B, C, H / s, W / s) each."""
        half = self.stage2(images * 2 - 1)
        quarter = self.stage4(half)
        eighth = self.stage8(quarter)
        deep = channel_norm(self.norm, self.blocks(self.stage16(eighth)))
        up8 = self.fuse8(eighth + double(self.down8(deep)))
        up4 = self.fuse4(quarter + double(self.down4(up8)))
        up2 = self.fuse2(half + double(self.down2(up4)))
        return {
            "half": up2,
            "quarter": self.out4(up4),
            "eighth": self.out8(up8),
            "sixteenth": self.out16(deep),
            "match": unit_heads(self.match(up4)),
        }


def double(x: Tensor) -> Tensor:
    """Twice the height and width, bilinear."""
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def channel_norm(norm: nn.Module, x: Tensor) -> Tensor:
    """Apply a LayerNorm over the channels of a (B, C, H, W) map."""
    return norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # type: ignore[no-any-return]


def unit_heads(x: Tensor) -> Tensor:
    """Give each of the `MATCH_HEADS` groups of channels unit length, so that products are cosines."""
    B, C, H, W = x.shape
    return F.normalize(x.float().view(B, MATCH_HEADS, C // MATCH_HEADS, H, W), dim=2, eps=1e-4).view(B, C, H, W)
