"""Hypothesis strategies for grids: any tilt, flip, permutation and spacing, without shear."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from voxsam.geometry import Geometry

SHAPES = st.tuples(*(st.integers(1, 7),) * 3)
MM = st.floats(0.05, 12.0)
ANGLES = st.floats(-np.pi, np.pi)
ORIGINS = st.floats(-900.0, 900.0)


def rotation(alpha: float, beta: float, gamma: float) -> np.ndarray:
    """Rotate about x, then y, then z."""
    (ca, cb, cg), (sa, sb, sg) = np.cos([alpha, beta, gamma]), np.sin([alpha, beta, gamma])
    about_x = np.array([[1, 0, 0], [0, ca, -sa], [0, sa, ca]])
    about_y = np.array([[cb, 0, sb], [0, 1, 0], [-sb, 0, cb]])
    about_z = np.array([[cg, -sg, 0], [sg, cg, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


@st.composite
def affines(draw: st.DrawFn) -> np.ndarray:
    """Draw a (4, 4) affine of voxels (first, second, third axis, 1) to millimetres; left-handed ones too."""
    axes = np.eye(3)[list(draw(st.permutations(range(3))))]
    flips = np.array(draw(st.tuples(*(st.sampled_from((-1.0, 1.0)),) * 3)))
    turn = rotation(*draw(st.one_of(st.just((0.0, 0.0, 0.0)), st.tuples(ANGLES, ANGLES, ANGLES))))
    affine = np.eye(4)
    affine[:3, :3] = turn @ axes * flips * np.array(draw(st.tuples(MM, MM, MM)))
    affine[:3, 3] = draw(st.tuples(ORIGINS, ORIGINS, ORIGINS))
    return affine


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    """Draw a grid."""
    return Geometry(draw(SHAPES), draw(affines()))
