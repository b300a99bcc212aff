"""Compare a mask with one label of a truth: ``python compare_with_truth.py MASK TRUTH LABEL``."""

import sys

import voxsam


def main(mask_file: str, truth_file: str, label: str) -> None:
    """Print both volumes and the Dice overlap (1 is perfect)."""
    mask = voxsam.load_mask(mask_file)
    truth = voxsam.load_mask(truth_file).of_label(int(label))
    truth.geometry.require_same(mask.geometry, mask_file)
    found, meant = mask.array != 0, truth.array
    dice = 2 * (found & meant).sum() / (found.sum() + meant.sum())
    print(f"found {mask.volume_ml():.1f} mL, truth {truth.volume_ml():.1f} mL, Dice {dice:.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
