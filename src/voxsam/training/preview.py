"""Pictures of what the generator makes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from voxsam.training.batches import Batch
from voxsam.training.noise import FloatArray

__all__ = ["contact_sheet", "save_preview"]


def contact_sheet(batch: Batch, columns: int = 8) -> FloatArray:
    """Tile a batch as (H, W, 3): each image beside itself with targets tinted and prompts marked."""
    tiles = []
    tints = np.eye(3, dtype=np.float32)
    for b in range(len(batch.images)):
        image = np.moveaxis(batch.images[b].astype(np.float32) / 255, 0, -1)
        drawn = image.copy()
        for p, target in enumerate(batch.targets[b]):
            tint = tints[p % 3]
            drawn[target] = 0.6 * drawn[target] + 0.4 * tint
            if batch.has_box[b, p]:
                x0, y0, x1, y1 = batch.boxes_xyxy[b, p].round().astype(int)
                drawn[[y0, y1], x0 : x1 + 1] = tint
                drawn[y0 : y1 + 1, [x0, x1]] = tint
            for (x, y), label in zip(batch.points_xy[b, p].astype(int), batch.point_labels[b, p], strict=True):
                if label >= 0:
                    drawn[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2] = (1, 1, 0) if label else (0, 1, 1)
        tiles.append(np.concatenate([image, drawn], 1))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    rows = [np.concatenate(tiles[i : i + columns], 1) for i in range(0, len(tiles), columns)]
    return np.concatenate(rows, 0)


def save_preview(batch: Batch, path: Path, *, columns: int = 4) -> None:
    """Write `contact_sheet` as a PNG."""
    Image.fromarray((contact_sheet(batch, columns).clip(0, 1) * 255).astype(np.uint8)).save(path)
