"""The network of the embedded default: a small image encoder, a prompt encoder and a mask decoder, as in SAM.

The image encoder runs once a view and leaves a pyramid (`IMAGE_FEATURES`); everything that depends on a prompt is in
the decoder, which answers ``P`` prompt sets an image at once. All of it is convolutional or attention without stored
positions, so any height and width that are multiples of 16 work.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["CompactEncoder", "CompactMaskDecoder", "CompactNetwork", "CompactPromptEncoder", "PromptBatch"]

IMAGE_FEATURES = ("half", "quarter", "eighth", "sixteenth", "match")
CHANNELS = {"half": 16, "quarter": 32, "eighth": 64, "sixteenth": 128, "match": 32}
MATCH_HEADS = 4
CLICK_WIDTHS_PX = (3.0, 10.0, 32.0)
DENSE_MAPS = 2 * len(CLICK_WIDTHS_PX) + 3 + 2 + 4  # clicks, box, earlier answer, flags
SIMILARITY_MAPS = 5 * MATCH_HEADS  # positive, negative, box core, box ring, earlier answer
MASKS = 4  # one answer, then three alternatives


@dataclass(frozen=True, eq=False)
class PromptBatch:
    """Prompts for B images with P prompt sets each, in input pixels.

    Parameters
    ----------
    points_xy : (B, P, N, 2) float tensor
    point_labels : (B, P, N) integer tensor
        1 for foreground, 0 for background, -1 for padding.
    boxes_xyxy : (B, P, 4) float tensor
    has_box : (B, P) bool tensor
    mask_logits : (B, P, H / 2, W / 2) float tensor
        An earlier answer.
    has_mask : (B, P) bool tensor
    """

    points_xy: Tensor
    point_labels: Tensor
    boxes_xyxy: Tensor
    has_box: Tensor
    mask_logits: Tensor
    has_mask: Tensor


class ConvNorm(nn.Module):
    """A 3x3 or 1x1 convolution with batch normalisation, which `fold` merges into the convolution."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1, relu: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(outputs)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
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
        tokens = tokens + self.scale2 * self.mlp(self.norm2(tokens))
        return tokens.transpose(1, 2).reshape(B, C, H, W)


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
        """Encode (B, 3, H, W) images in 0..1 to the maps named in `IMAGE_FEATURES`, (B, C, H / s, W / s) each."""
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


class CompactPromptEncoder(nn.Module):
    """Prompts to maps at 1/4 (where the prompt is, what looks like it) and to tokens.

    Parameters
    ----------
    width : int
        Length of a token.
    """

    frequencies: Tensor

    def __init__(self, width: int = CHANNELS["sixteenth"]) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("frequencies", torch.randn(2, width // 2, generator=generator))
        self.kinds = nn.Embedding(4, width)  # negative click, positive click, first corner, last corner
        self.appearance = nn.Linear(CHANNELS["eighth"], width)

    def positions(self, xy: Tensor, height: int, width: int) -> Tensor:
        """Fourier features (..., C) of pixel positions (..., 2) in an image of `height` x `width`."""
        unit = (xy + 0.5) / xy.new_tensor([width, height]) * 2 - 1
        phase = 2 * torch.pi * unit @ self.frequencies
        return torch.cat([phase.sin(), phase.cos()], -1)

    def forward(self, features: dict[str, Tensor], prompts: PromptBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Encode prompts.

        Returns
        -------
        maps : (B * P, DENSE_MAPS + SIMILARITY_MAPS, H / 4, W / 4) tensor
        tokens : (B * P, N + 2, width) tensor
        present : (B * P, N + 2) bool tensor
            False where a token stands for a missing prompt.
        """
        match = features["match"]
        B, C, h, w = match.shape
        P, N = prompts.point_labels.shape[1:]
        keys = match.float().flatten(2)  # (B, C, h*w)
        centres_x, centres_y = cell_centres(w, match), cell_centres(h, match)
        discs, click_maps = self._clicks(prompts, centres_x, centres_y)
        box_maps, box_weights = self._boxes(prompts, centres_x, centres_y)
        earlier = F.avg_pool2d(prompts.mask_logits.flatten(0, 1).unsqueeze(1).float(), 2)[:, 0]  # (B*P, h, w)
        known = prompts.has_mask.flatten()[:, None, None].float()
        inside = earlier.sigmoid() * known
        weights = torch.cat([discs, box_weights, inside[:, None]], 1).view(B, P * (N + 3), h * w)
        pooled = (weights @ keys.transpose(1, 2)) / weights.sum(-1, keepdim=True).clamp_min(1e-3)  # (B, P*(N+3), C)
        likeness = head_products(pooled, keys).reshape(B * P, N + 3, MATCH_HEADS, h, w)
        similarity = self._similarity(likeness, prompts)
        labels = prompts.point_labels.flatten(0, 1)
        flags = torch.stack(
            [(labels == 1).any(1), (labels == 0).any(1), prompts.has_box.flatten(), prompts.has_mask.flatten()], 1
        )
        flag_maps = flags.float()[:, :, None, None].expand(-1, -1, h, w)
        earlier_maps = torch.stack([inside, (earlier / 8).clamp(-1, 1) * known], 1)
        maps = torch.cat([click_maps, box_maps, earlier_maps, flag_maps, similarity], 1)
        tokens, present = self._tokens(features["eighth"], prompts, discs, (4 * h, 4 * w))
        return maps, tokens, present

    @staticmethod
    def _clicks(prompts: PromptBatch, centres_x: Tensor, centres_y: Tensor) -> tuple[Tensor, Tensor]:
        xy = prompts.points_xy.flatten(0, 1).float()  # (B*P, N, 2)
        labels = prompts.point_labels.flatten(0, 1)
        x2, y2 = (centres_x - xy[..., :1]) ** 2, (centres_y - xy[..., 1:]) ** 2  # (B*P, N, w), (B*P, N, h)
        maps = []
        for width in CLICK_WIDTHS_PX:
            across, down = torch.exp(-x2 / (2 * width**2)), torch.exp(-y2 / (2 * width**2))
            for sign in (1, 0):
                wanted = (labels == sign).float().unsqueeze(-1)
                maps.append(((down * wanted).transpose(1, 2) @ across).clamp_max(1))  # (B*P, h, w)
        near = 2 * CLICK_WIDTHS_PX[0] ** 2
        given = (labels >= 0).float().unsqueeze(-1)
        discs = (torch.exp(-y2 / near) * given).unsqueeze(-1) * torch.exp(-x2 / near).unsqueeze(-2)
        return discs, torch.stack(maps, 1)

    @staticmethod
    def _boxes(prompts: PromptBatch, centres_x: Tensor, centres_y: Tensor) -> tuple[Tensor, Tensor]:
        left, top, right, bottom = prompts.boxes_xyxy.flatten(0, 1).float().unsqueeze(-1).unbind(1)  # (B*P, 1) each
        given = prompts.has_box.flatten()[:, None, None].float()

        def filled(margin_x: Tensor | float, margin_y: Tensor | float) -> Tensor:
            across = coverage(centres_x, left - margin_x, right + margin_x)
            down = coverage(centres_y, top - margin_y, bottom + margin_y)
            return down.unsqueeze(2) * across.unsqueeze(1) * given  # (B*P, h, w)

        half_x, half_y = (right - left) / 2 + 0.5, (bottom - top) / 2 + 0.5
        radius = ((centres_x - (left + right) / 2) / half_x).square().unsqueeze(1)
        radius = radius + ((centres_y - (top + bottom) / 2) / half_y).square().unsqueeze(2)
        fill = filled(0.0, 0.0)
        edge = (filled(2.0, 2.0) - filled(-2.0, -2.0)).clamp_min(0)
        ellipse = (1 - radius).clamp(-1, 1) * given
        ring = filled(0.3 * half_x + 2, 0.3 * half_y + 2) - fill
        core = torch.exp(-2 * radius.clamp_max(20)) * given
        return torch.stack([fill, edge, ellipse], 1), torch.stack([core, ring], 1)

    @staticmethod
    def _similarity(likeness: Tensor, prompts: PromptBatch) -> Tensor:
        labels = prompts.point_labels.flatten(0, 1)[:, :, None, None, None]  # (B*P, N, 1, 1, 1)
        N = labels.shape[1]
        clicks = likeness[:, :N]
        maps = []
        for sign in (1, 0):
            best = clicks.masked_fill(labels != sign, -2).amax(1)  # (B*P, heads, h, w)
            maps.append(torch.where(best < -1.5, torch.zeros_like(best), best))
        return torch.cat([*maps, likeness[:, N:].flatten(1, 2)], 1)

    def _tokens(
        self, eighth: Tensor, prompts: PromptBatch, discs: Tensor, shape: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        B, P, N = prompts.point_labels.shape
        coarse = F.avg_pool2d(discs, 2).view(B, P * N, -1)
        seen = (coarse @ eighth.float().flatten(2).transpose(1, 2)) / coarse.sum(-1, keepdim=True).clamp_min(1e-3)
        labels = prompts.point_labels.flatten(0, 1)
        clicks = self.positions(prompts.points_xy.flatten(0, 1).float(), *shape)
        clicks = clicks + self.kinds(labels.clamp_min(0)) + self.appearance(seen.view(B * P, N, -1))
        corners = self.positions(prompts.boxes_xyxy.flatten(0, 1).float().view(B * P, 2, 2), *shape)
        corners = corners + self.kinds.weight[2:]
        has_box = prompts.has_box.flatten()[:, None].expand(-1, 2)
        return torch.cat([clicks, corners], 1), torch.cat([labels >= 0, has_box], 1)


class TwoWayLayer(nn.Module):
    """Tokens look at each other, at the image, and the image looks back at them."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.self_attention = Attention(width, inner=width, heads=heads)
        self.norm1 = nn.LayerNorm(width)
        self.to_image = Attention(width, inner=width // 2, heads=heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.norm3 = nn.LayerNorm(width)
        self.to_tokens = Attention(width, inner=width // 2, heads=heads)
        self.norm4 = nn.LayerNorm(width)

    def forward(
        self, tokens: Tensor, first: Tensor, image: Tensor, where: Tensor, bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Update `tokens` (B, T, C) and `image` (B, L, C); `first` and `where` are their position codes."""
        query = tokens + first
        tokens = self.norm1(tokens + self.self_attention(query, query, tokens, bias))
        tokens = self.norm2(tokens + self.to_image(tokens + first, image + where, image))
        tokens = self.norm3(tokens + self.mlp(tokens))
        image = self.norm4(image + self.to_tokens(image + where, tokens + first, tokens, bias))
        return tokens, image


class CompactMaskDecoder(nn.Module):
    """Image features and prompts to four mask logits at 1/2 with their predicted IoU.

    A U of three scales, 1/4 to 1/16 and back to 1/2, with two-way token attention at the bottom. Mask 0 is the one
    answer, masks 1..3 are alternatives.

    Parameters
    ----------
    layers : int
        Two-way attention layers.
    """

    def __init__(self, *, layers: int = 2) -> None:
        super().__init__()
        half, quarter, eighth, wide = (CHANNELS[name] for name in IMAGE_FEATURES[:4])
        self.tokens = nn.Embedding(MASKS + 1, wide)  # the last one is for quality
        self.enter = nn.Conv2d(DENSE_MAPS + SIMILARITY_MAPS, quarter, 3, padding=1)
        self.down8 = nn.Conv2d(quarter, eighth, 3, stride=2, padding=1)
        self.norm8 = nn.LayerNorm(eighth)
        self.mix8 = nn.Conv2d(eighth, eighth, 3, padding=1)
        self.down16 = nn.Conv2d(eighth, wide, 3, stride=2, padding=1)
        self.norm16 = nn.LayerNorm(wide)
        self.layers = nn.ModuleList(TwoWayLayer(wide, heads=4) for _ in range(layers))
        self.up8 = nn.Conv2d(wide, eighth, 1)
        self.fuse8 = nn.Conv2d(eighth, eighth, 3, padding=1)
        self.up4 = nn.Conv2d(eighth, quarter, 1)
        self.fuse4 = nn.Conv2d(quarter, quarter, 3, padding=1)
        self.up2 = nn.Conv2d(quarter, half, 1)
        self.earlier2 = nn.Conv2d(2, half, 1)
        self.fuse2 = nn.Conv2d(half, half, 3, padding=1)
        self.weights = nn.ModuleList(
            nn.Sequential(nn.Linear(wide, wide), nn.GELU(), nn.Linear(wide, half + 1)) for _ in range(MASKS)
        )
        self.quality = nn.Sequential(nn.Linear(2 * wide + quarter + 2, wide), nn.GELU(), nn.Linear(wide, 1))

    def forward(
        self, features: dict[str, Tensor], prompts: PromptBatch, prompt_encoder: CompactPromptEncoder
    ) -> tuple[Tensor, Tensor]:
        """Answer prompts: logits (B, P, 4, H / 2, W / 2) and predicted IoU (B, P, 4)."""
        B, P = prompts.has_box.shape
        maps, prompt_tokens, present = prompt_encoder(features, prompts)
        quarter = F.relu(self.enter(maps.contiguous(memory_format=torch.channels_last)) + each(features["quarter"], P))
        eighth = channel_norm(self.norm8, self.down8(quarter) + each(features["eighth"], P))
        eighth = eighth + F.relu(self.mix8(eighth))
        deep = channel_norm(self.norm16, self.down16(eighth) + each(features["sixteenth"], P))
        tokens, deep = self._converse(prompt_tokens, present, deep, prompt_encoder)
        up8 = eighth + double(self.up8(deep))
        up8 = up8 + F.relu(self.fuse8(up8))
        up4 = quarter + double(self.up4(up8))
        up4 = up4 + F.relu(self.fuse4(up4))
        up2 = double(self.up2(up4)) + each(features["half"], P) + self.earlier2(earlier_maps(prompts))
        up2 = F.relu(self.fuse2(F.relu(up2)))  # (B*P, half, H/2, W/2)
        weights = torch.stack([head(tokens[:, i]) for i, head in enumerate(self.weights)], 1).float()
        logits = weights[:, :, :-1] @ up2.float().flatten(2) + weights[:, :, -1:]  # (B*P, 4, H/2 * W/2)
        logits = logits.view(B * P, MASKS, *up2.shape[2:])
        scores = self._score(tokens, logits.detach(), up4)
        return logits.view(B, P, *logits.shape[1:]), scores.view(B, P, MASKS)

    def _converse(
        self, prompt_tokens: Tensor, present: Tensor, deep: Tensor, prompt_encoder: CompactPromptEncoder
    ) -> tuple[Tensor, Tensor]:
        N, C, h, w = deep.shape
        own = self.tokens.weight.expand(N, -1, -1)
        tokens = torch.cat([own, prompt_tokens], 1)
        absent = torch.cat([present.new_zeros(N, MASKS + 1), ~present], 1)
        bias = torch.zeros(absent.shape, device=deep.device).masked_fill(absent, -1e4)[:, None, None]
        grid_y, grid_x = torch.meshgrid(
            torch.arange(h, device=deep.device) * 16 + 7.5, torch.arange(w, device=deep.device) * 16 + 7.5, indexing="ij"
        )
        where = prompt_encoder.positions(torch.stack([grid_x, grid_y], -1).view(1, h * w, 2), 16 * h, 16 * w)
        image, first = deep.flatten(2).transpose(1, 2), tokens
        for layer in self.layers:
            tokens, image = layer(tokens, first, image, where, bias)
        return tokens, image.transpose(1, 2).reshape(N, C, h, w)

    def _score(self, tokens: Tensor, logits: Tensor, quarter: Tensor) -> Tensor:
        inside = F.avg_pool2d(logits.sigmoid(), 2).flatten(2)  # (B*P, 4, h*w)
        area = inside.sum(-1, keepdim=True)
        pooled = inside @ quarter.float().flatten(2).transpose(1, 2) / (area + 1)
        doubt = (inside * (1 - inside)).sum(-1, keepdim=True) / (area + 1)
        quality = tokens[:, MASKS : MASKS + 1].expand(-1, MASKS, -1)
        evidence = [tokens[:, :MASKS], quality, pooled, doubt, area / inside.shape[-1]]
        return self.quality(torch.cat([part.float() for part in evidence], -1)).squeeze(-1).float().sigmoid()  # type: ignore[no-any-return]


class CompactNetwork(nn.Module):
    """Encoder, prompt encoder and mask decoder together.

    Examples
    --------
    >>> network = CompactNetwork().eval()
    >>> features = network.encoder(torch.zeros(1, 3, 64, 64))
    >>> {name: tuple(features[name].shape[1:]) for name in ("half", "sixteenth")}
    {'half': (16, 32, 32), 'sixteenth': (128, 4, 4)}
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoder = CompactEncoder()
        self.prompt_encoder = CompactPromptEncoder()
        self.mask_decoder = CompactMaskDecoder()

    def decode(self, features: dict[str, Tensor], prompts: PromptBatch) -> tuple[Tensor, Tensor]:
        """Answer prompts on encoded images; see `CompactMaskDecoder.forward`."""
        return self.mask_decoder(features, prompts, self.prompt_encoder)  # type: ignore[no-any-return]

    def fold(self) -> CompactNetwork:
        """Merge every batch normalisation into its convolution, in place, for inference and export."""
        for module in self.modules():
            if isinstance(module, ConvNorm):
                module.fold()
        return self


def double(x: Tensor) -> Tensor:
    """Twice the height and width, bilinear."""
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def each(x: Tensor, prompts: int) -> Tensor:
    """Repeat the features of each image for each of its prompt sets: (B, ...) to (B * P, ...)."""
    return x if prompts == 1 else x.repeat_interleave(prompts, 0)


def channel_norm(norm: nn.Module, x: Tensor) -> Tensor:
    """Apply a LayerNorm over the channels of a (B, C, H, W) map."""
    return norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # type: ignore[no-any-return]


def unit_heads(x: Tensor) -> Tensor:
    """Give each of the `MATCH_HEADS` groups of channels unit length, so that products are cosines."""
    B, C, H, W = x.shape
    return F.normalize(x.float().view(B, MATCH_HEADS, C // MATCH_HEADS, H, W), dim=2, eps=1e-4).view(B, C, H, W)


def head_products(queries: Tensor, keys: Tensor) -> Tensor:
    """Per-head products of queries (B, Q, C) with keys (B, C, L): (B, Q, heads, L)."""
    B, Q, C = queries.shape
    q = queries.view(B, Q, MATCH_HEADS, C // MATCH_HEADS).transpose(1, 2)
    k = keys.view(B, MATCH_HEADS, C // MATCH_HEADS, -1)
    return (q @ k).transpose(1, 2)  # (B, Q, heads, L)


def cell_centres(count: int, like: Tensor) -> Tensor:
    """Input-pixel positions of the centres of `count` cells of 4 pixels."""
    return torch.arange(count, device=like.device, dtype=torch.float32) * 4 + 1.5


def coverage(centres: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Share of each 4-pixel cell between the pixels `low` and `high`, both included: (B, cells)."""
    overlap = torch.minimum(centres + 2, high + 0.5) - torch.maximum(centres - 2, low - 0.5)
    return (overlap / 4).clamp(0, 1)


def earlier_maps(prompts: PromptBatch) -> Tensor:
    """The earlier answer at 1/2 as probability and as bounded logit: (B * P, 2, H / 2, W / 2)."""
    logits = prompts.mask_logits.flatten(0, 1).float()
    known = prompts.has_mask.flatten()[:, None, None].float()
    maps = torch.stack([logits.sigmoid() * known, (logits / 8).clamp(-1, 1) * known], 1)
    return maps.contiguous(memory_format=torch.channels_last)
