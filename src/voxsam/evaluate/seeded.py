"""Two classical cuts between seeds, on scipy's sparse graphs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage, sparse
from scipy.sparse import csgraph

__all__ = ["fast_grow_cut", "graph_cut"]

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


def fast_grow_cut(pixels: FloatArray, foreground: BoolArray, background: BoolArray) -> BoolArray:
    """Give each pixel to the seed with the cheapest path to it, a step costing the difference in brightness.

    This is the shortest-path form of GrowCut (Zhu et al. 2014).

    Parameters
    ----------
    pixels : (h, w) float array in 0..1
    foreground, background : (h, w) bool array
        Seeds.

    Returns
    -------
    (h, w) bool array

    Examples
    --------
    >>> row = np.array([[0.1, 0.1, 0.1, 0.9, 0.9]], np.float32)
    >>> seeds = np.array([[True, False, False, False, False]])
    >>> fast_grow_cut(row, seeds, seeds[:, ::-1]).tolist()
    [[True, True, True, False, False]]
    """
    if not foreground.any() or not background.any():
        return np.array(foreground)
    first, second, difference = _neighbours(pixels)
    graph = sparse.csr_array((difference + 1e-4, (first, second)), shape=(pixels.size, pixels.size))
    costs = [
        csgraph.dijkstra(graph, directed=False, indices=np.flatnonzero(seeds), min_only=True)
        for seeds in (foreground, background)
    ]
    return np.asarray(np.less(*costs)).reshape(pixels.shape)


def graph_cut(
    pixels: FloatArray,
    foreground: BoolArray,
    background: BoolArray,
    *,
    edge_weight: float = 20.0,
) -> BoolArray:
    """Cut foreground from background where it is cheapest (Boykov and Jolly 2001).

    Two neighbours are held together by ``exp(-d² / 2s²)`` of their difference in brightness, `s` being the
    deviation of all such differences. Each patch of seeds has a mean and a deviation of brightness; a pixel is drawn
    to the foreground where it lies within two deviations of a foreground patch, and nearer to it than to any patch of
    background. Patches on the frame say too little of what else a slice holds, and are left out of this.

    Parameters
    ----------
    pixels : (h, w) float array in 0..1
    foreground, background : (h, w) bool array
        Seeds; held to their side.
    edge_weight : float
        How much an edge counts against brightness.

    Returns
    -------
    (h, w) bool array

    Examples
    --------
    >>> row = np.array([[0.1, 0.1, 0.1, 0.9, 0.9]], np.float32)
    >>> seeds = np.array([[True, False, False, False, False]])
    >>> graph_cut(row, seeds, seeds[:, ::-1]).tolist()
    [[True, True, True, False, False]]
    """
    if not foreground.any() or not background.any():
        return np.array(foreground)
    first, second, difference = _neighbours(pixels)
    spread = float(difference.std()) + 1e-3
    held = 1000.0 * edge_weight * np.exp(-(difference**2) / (2.0 * spread**2))
    inner = np.zeros(pixels.shape, bool)
    inner[1:-1, 1:-1] = True
    own, other = _deviations_away(pixels, foreground), _deviations_away(pixels, background, within=inner)
    pull = np.clip(0.5 * (np.minimum(other, 2.0) ** 2 - own**2), -10.0, 10.0).ravel()
    to_source, to_sink = 1000.0 * np.maximum(pull, 0.0), 1000.0 * np.maximum(-pull, 0.0)
    firm = 1e8
    to_source[foreground.ravel()], to_sink[foreground.ravel()] = firm, 0.0
    to_source[background.ravel()], to_sink[background.ravel()] = 0.0, firm

    source, sink = pixels.size, pixels.size + 1
    every = np.arange(pixels.size)
    rows = np.concatenate([first, second, np.full(pixels.size, source), every])
    columns = np.concatenate([second, first, every, np.full(pixels.size, sink)])
    capacity = np.rint(np.concatenate([held, held, to_source, to_sink])).astype(np.int32)
    graph = sparse.csr_array((capacity, (rows, columns)), shape=(sink + 1, sink + 1))
    flow = csgraph.maximum_flow(graph, source, sink, method="dinic").flow
    left = graph - flow
    left.eliminate_zeros()
    reached = csgraph.breadth_first_order(left, source, return_predecessors=False)
    inside = np.zeros(sink + 1, bool)
    inside[reached] = True
    return inside[: pixels.size].reshape(pixels.shape)


def _neighbours(pixels: FloatArray) -> tuple[IntArray, IntArray, npt.NDArray[np.float64]]:
    """Index pairs of pixels that share a side, and how much they differ."""
    index = np.arange(pixels.size).reshape(pixels.shape)
    first = np.concatenate([index[:-1].ravel(), index[:, :-1].ravel()])
    second = np.concatenate([index[1:].ravel(), index[:, 1:].ravel()])
    flat = pixels.ravel().astype(np.float64)
    return first, second, np.abs(flat[first] - flat[second])


def _deviations_away(
    pixels: FloatArray, seeds: BoolArray, *, within: BoolArray | None = None
) -> npt.NDArray[np.float64]:
    """How many deviations each pixel is from the nearest patch of seeds in brightness."""
    away = np.full(pixels.shape, np.inf)
    patches, count = ndimage.label(seeds)
    for patch in range(1, count + 1):
        inside = patches == patch
        if within is None or within[inside].all():
            values = pixels[inside].astype(np.float64)
            away = np.minimum(away, np.abs(pixels - values.mean()) / max(float(values.std()), 0.05))
    return away
