"""Make the pictures of docs/windowing.md: what each window and enhancement does on a real slice.

Needs the real scans: VOXSAM_DATA=/folder python docs/examples/windowing_pictures.py [docs/images]
"""

import os
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from voxsam import Point, load_mask, load_volume
from voxsam.views import SliceStack, View, slice_of
from voxsam.windowing import PRESETS, choose_window, window_around

DATA = Path(os.environ["VOXSAM_DATA"])
CT = "eval/totalsegmentator_examples/example_ct__img.nii.gz"  # Apache-2.0
SARCOMA_CT = "train/ibsi_sts_sarcoma/STS_018_CT"  # CC BY 3.0
SARCOMA_MR = "train/ibsi_sts_sarcoma/STS_006_MR_T1"  # CC BY 3.0


def sheet(pictures, columns, *, width, path):
    """Lay pictures with their captions side by side."""
    shape = next(iter(pictures.values())).shape
    height, bar = round(width * shape[0] / shape[1]), 22
    rows = -(-len(pictures) // columns)
    page = Image.new("RGB", (columns * (width + 4) - 4, rows * (height + bar)), (12, 14, 18))
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(13)
    for at, (caption, pixels) in enumerate(pictures.items()):
        x, y = at % columns * (width + 4), at // columns * (height + bar)
        tile = Image.fromarray(np.rint(pixels * 255).astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
        page.paste(tile, (x, y + bar))
        draw.text((x + 5, y + bar / 2), caption, (235, 238, 242), font, "lm")
    page.save(path, quality=82, optimize=True)


def presets(folder):
    """Show one slice of a CT through every window."""
    stack = SliceStack(load_volume(DATA / CT))
    names = ["auto", *PRESETS, "multi"]
    windows = {name: choose_window(stack.volume, name) for name in names}
    captions = [f"{n}  {w[0].width:g} / {w[0].level:g}" if len(w) == 1 else n for n, w in windows.items()]
    pixels = [stack.pixels(View("coronal", 42, w)) for w in windows.values()]
    sheet(dict(zip(captions, pixels, strict=True)), 4, width=220, path=folder / "presets.jpg")


def low_contrast(folder, case, name, looks):
    """Show a tumour's largest slice in several ways; the first picture has the clinician's contour."""
    volume, tumour = load_volume(DATA / f"{case}__img.nii.gz"), load_mask(DATA / f"{case}__seg.nii.gz").of_label(1)
    axes = volume.geometry.axes_of("axial")
    index = int(np.argmax(tumour.array.sum(axis=(1, 2))))  # both scans have their slices along z
    drawn = slice_of(tumour.array, axes, index)
    where = np.argwhere(drawn)
    middle = Point((index, *where[np.argmin(((where - where.mean(axis=0)) ** 2).sum(axis=1))]))
    stack, pictures = SliceStack(volume), {}
    for caption, (window, enhance) in looks.items():
        fitted = (window_around(volume, [middle]),) if window == "around" else choose_window(volume, window)
        view = View("axial", index, fitted, enhance=enhance)
        pixels = stack.pixels(view)
        if caption == "auto":
            inside = stack.frame(view).slice_to_view(drawn, order=0)
            pixels[inside & ~ndimage.binary_erosion(inside)] = (0.95, 0.35, 0.25)
        pictures[caption] = pixels
    sheet(pictures, 3, width=300, path=folder / name)


def main():
    """Write the three pictures."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "images"
    folder.mkdir(parents=True, exist_ok=True)
    presets(folder)
    ct = {
        "auto": ("auto", ()),
        "local": ("around", ()),
        "denoise": ("auto", ("denoise",)),
        "clahe": ("auto", ("clahe",)),
    }
    ct |= {"denoise + local": ("around", ("denoise",)), "denoise + clahe": ("auto", ("denoise", "clahe"))}
    low_contrast(folder, SARCOMA_CT, "low-contrast-ct.jpg", ct)
    mr = {
        "auto": ("auto", ()),
        "n4": ("auto", ("n4",)),
        "denoise": ("auto", ("denoise",)),
        "clahe": ("auto", ("clahe",)),
    }
    mr |= {"n4 + clahe": ("auto", ("n4", "clahe")), "local": ("around", ())}
    low_contrast(folder, SARCOMA_MR, "low-contrast-mr.jpg", mr)


if __name__ == "__main__":
    main()
