"""The network of the embedded default, an image encoder, a prompt encoder and a mask decoder as in SAM; the decoder.

The image encoder runs once a view and leaves a pyramid of features (`CHANNELS`); everything that depends on a prompt is
in the decoder, which answers ``P`` prompt sets an image at once. All of it is convolutional or attention without stored
positions, so any height and width that are multiples of 16 work.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voxsam.models.compact_encoder import CHANNELS, Attention, CompactEncoder, ConvNorm, channel_norm, double
from voxsam.models.compact_memory import MEMORY_MAPS, CompactMemory, MemoryBatch
from voxsam.models.compact_prompts import PROMPT_MAPS, CompactPromptEncoder, PromptBatch

__all__ = ["CompactMaskDecoder", "CompactNetwork"]

MASKS = 4  # one answer, then three alternatives


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
        half, quarter, eighth, wide = (CHANNELS[name] for name in ("half", "quarter", "eighth", "sixteenth"))
        self.tokens = nn.Embedding(MASKS + 1, wide)  # the last one is for quality
        self.enter = nn.Conv2d(PROMPT_MAPS, quarter, 3, padding=1)
        self.memory = CompactMemory()
        self.recall = nn.Conv2d(MEMORY_MAPS, quarter, 3, padding=1, bias=False)
        nn.init.zeros_(self.recall.weight)  # a network that was trained without memory answers as before
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
        entered = self.enter(maps.contiguous(memory_format=torch.channels_last))
        recalled = self.recalled(features, prompts.memory) if prompts.recalled is None else prompts.recalled
        if recalled is not None:
            entered = entered + recalled
        quarter = F.relu(entered + each(features["quarter"], P))
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

    def recalled(self, features: dict[str, Tensor], memory: MemoryBatch | None) -> Tensor | None:
        """Return what a memory adds to the prompts at 1/4, (B * P, C, H / 4, W / 4); None without a memory."""
        if memory is None:
            return None
        return self.recall(self.memory(features["match"], memory))  # type: ignore[no-any-return]

    def _converse(
        self, prompt_tokens: Tensor, present: Tensor, deep: Tensor, prompt_encoder: CompactPromptEncoder
    ) -> tuple[Tensor, Tensor]:
        N, C, h, w = deep.shape
        own = self.tokens.weight.expand(N, -1, -1)
        tokens = torch.cat([own, prompt_tokens], 1)
        absent = torch.cat([present.new_zeros(N, MASKS + 1), ~present], 1)
        bias = torch.zeros(absent.shape, device=deep.device).masked_fill(absent, -1e4)[:, None, None]
        grid_y, grid_x = torch.meshgrid(
            torch.arange(h, device=deep.device) * 16 + 7.5,
            torch.arange(w, device=deep.device) * 16 + 7.5,
            indexing="ij",
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


def each(x: Tensor, prompts: int) -> Tensor:
    """Repeat the features of each image for each of its prompt sets: (B, ...) to (B * P, ...)."""
    return x if prompts == 1 else x.repeat_interleave(prompts, 0)


def earlier_maps(prompts: PromptBatch) -> Tensor:
    """Return the earlier answer at 1/2 as probability and as bounded logit: (B * P, 2, H / 2, W / 2)."""
    logits = prompts.mask_logits.flatten(0, 1).float()
    known = prompts.has_mask.flatten()[:, None, None].float()
    maps = torch.stack([logits.sigmoid() * known, (logits / 8).clamp(-1, 1) * known], 1)
    return maps.contiguous(memory_format=torch.channels_last)
