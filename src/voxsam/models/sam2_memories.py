"""Which memories SAM 2 makes use of, and how."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["chosen_memories"]


def chosen_memories(
    memories: Sequence[tuple[int, bool]], *, slots: int, memory_reach: int, pointer_reach: int
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Choose what is made of each memory.

    Parameters
    ----------
    memories : sequence of (int, bool)
        Slices from the present view to the remembered one; whether a user prompted that.
    slots : int
        Of how many prompted memories, the nearest, use is made.
    memory_reach, pointer_reach : int
        Slices.

    Returns
    -------
    list of (int, int)
        Views to attend to: the distance to tell the network, 0 for prompted ones, and the index in `memories`.
    list of (int, int)
        The same for pointers.

    Examples
    --------
    The user answered slice 0 and slice 9; tracking goes up and stands at slice 3:

    >>> chosen_memories([(-3, True), (6, True), (-2, False), (-1, False)], slots=16, memory_reach=6, pointer_reach=15)
    ([(0, 0), (0, 1), (2, 2), (1, 3)], [(3, 0), (1, 3), (2, 2)])
    """
    away = [abs(offset) for offset, _ in memories]
    nearest = sorted(range(len(memories)), key=away.__getitem__)
    prompted = sorted([index for index in nearest if memories[index][1]][:slots])
    found = [index for index in nearest if not memories[index][1] and away[index]]
    shortest = min((away[index] for index in prompted), default=0)
    leading = found or [index for index in prompted if away[index] == shortest]
    behind = {memories[index][0] > 0 for index in leading}
    spatial = [(0, index) for index in prompted]
    spatial += [(away[index], index) for index in reversed(found) if away[index] <= memory_reach]
    pointers = [
        (away[index], index)
        for index in prompted + [index for index in found if away[index] <= pointer_reach]
        if away[index] == 0 or (memories[index][0] > 0) in behind
    ]
    # out of reach: better than nothing
    return spatial or [(min(max(away[nearest[0]], 1), memory_reach), nearest[0])], pointers
