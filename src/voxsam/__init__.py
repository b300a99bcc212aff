"""Promptable 3D medical segmentation."""
