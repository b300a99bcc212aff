"""segment_volume: prompts on a scan become a mask on its own grid, one call a step. Start reading here."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from voxsam.embeddings import EmbeddingStore
from voxsam.geometry import Geometry, Plane, PlaneAxes
from voxsam.models.base import PromptableModel
from voxsam.models.registry import load_model
from voxsam.models.runtime import facts_of
from voxsam.postprocess import fill_holes
from voxsam.prompts import Box, MaskPrompt, Prompt, check_prompts, dump_prompts
from voxsam.propagate import CarryRules, Propagation, StopRules, propagate
from voxsam.report import Report
from voxsam.views import SliceStack, slice_of
from voxsam.volume import Mask, Volume
from voxsam.windowing import Window, WindowSpec, choose_window, window_around
from voxsam.zoom import ZoomRules

__all__ = ["CleanRules", "Segmentation", "Workspace", "choose_plane", "package_versions", "segment_volume"]

BoolArray = npt.NDArray[np.bool_]
OnProgress: TypeAlias = Callable[[int, int], None]
PlaneChoice: TypeAlias = Plane | Literal["auto"]
WindowChoice: TypeAlias = str | Window | Sequence[Window]

#: The enhancement that is a window fitted to the prompts; the others change pixels.
LOCAL = "local"
#: Those that take a while, because they need the whole scan.
_WHOLE_SCAN = ("n4", "denoise")
_PACKAGES = ("voxsam", "numpy", "scipy", "SimpleITK", "torch")


@dataclass(frozen=True)
class CleanRules:
    """The light clean-up of a mask in 3D.

    Parameters
    ----------
    drop_islands : bool
        Remove what is not connected to a prompted slice's mask.
    holes_mm3 : float
        Fill holes up to this volume; 0 fills none.
    """

    drop_islands: bool = True
    holes_mm3: float = 100.0


@dataclass(frozen=True, eq=False)
class Segmentation:
    """A mask, and how it was made.

    Parameters
    ----------
    mask : Mask
        Bool, on the scan's grid.
    report : Report
    """

    mask: Mask
    report: Report


def segment_volume(
    volume: Volume,
    prompts: Sequence[Prompt],
    *,
    model: PromptableModel | str = "compact",
    plane: PlaneChoice = "auto",
    window: WindowChoice = "auto",
    enhance: Iterable[str] = (),
    stops: StopRules | None = None,
    carry: CarryRules | None = None,
    zoom: ZoomRules | None = None,
    auto_zoom: bool = True,
    clean: CleanRules | None = None,
    cache_dir: Path | str | None = None,
    device: str = "auto",
    backend: str = "auto",
    precision: str = "auto",
    on_progress: OnProgress | None = None,
) -> Segmentation:
    """Segment one object in a scan.

    Parameters
    ----------
    volume : Volume
        Never written to.
    prompts : sequence of Prompt
        What was said about the object: clicks, boxes, strokes, masks, on any of its slices.
    model : PromptableModel or str
        A model, or the name of one to load.
    plane : {"auto", "axial", "coronal", "sagittal"}
        Across which the model looks; ``"auto"`` takes that of the prompts, else the plane the scan was taken in.
    window : str, Window or sequence of Window
        As `voxsam.windowing.choose_window` takes it.
    enhance : iterable of str
        ``"clahe"``, ``"n4"``, ``"denoise"``; ``"local"`` fits the window to the prompts' surroundings.
    stops, carry, zoom, clean : rules, optional
        Of `propagate`, of auto-zoom, and of the clean-up.
    auto_zoom : bool
        Look again from nearer where the object is small.
    cache_dir : Path, "auto" or None
        Where embeddings are kept between runs, see `EmbeddingStore`.
    device, backend, precision : str
        For a model given by its name, as `voxsam.models.registry.load_model` takes them.
    on_progress : callable, optional
        Called as ``on_progress(done, total)``, total in slices, or in percent of each step where the whole scan is
        enhanced first; raising `Cancelled` in it stops.

    Returns
    -------
    Segmentation

    Raises
    ------
    PromptError
        If a prompt lies outside the scan, or none says where the object is.
    WindowError, ModelError, StoreError
        If a window, an enhancement or a model is unknown, or a named cache cannot be written.

    Examples
    --------
    >>> scan = voxsam.load_volume("ct.nii.gz")  # doctest: +SKIP
    >>> liver = segment_volume(scan, [Point((42, 210, 180))])  # doctest: +SKIP
    >>> liver.report.volume_ml  # doctest: +SKIP
    1432.7
    """
    check_prompts(prompts, volume.geometry)
    workspace = Workspace.open(
        volume, model=model, window=window, enhance=enhance, cache_dir=cache_dir, device=device, backend=backend,
        precision=precision,
    )  # fmt: skip
    return workspace.segment(
        prompts,
        plane=plane,
        stops=stops,
        carry=carry,
        zoom=zoom,
        auto_zoom=auto_zoom,
        clean=clean,
        on_progress=on_progress,
    )


@dataclass(frozen=True, eq=False)
class Workspace:
    """A scan made ready for a model: its views and their embeddings, to be prompted many times.

    Parameters
    ----------
    volume : Volume
    stack : SliceStack
    store : EmbeddingStore
    windows : tuple of 1 or 3 Window
    fits_window : bool
        A window is fitted to each object's prompts instead.
    """

    volume: Volume
    stack: SliceStack
    store: EmbeddingStore
    windows: WindowSpec
    fits_window: bool = False

    @classmethod
    def open(
        cls,
        volume: Volume,
        *,
        model: PromptableModel | str = "compact",
        window: WindowChoice = "auto",
        enhance: Iterable[str] = (),
        cache_dir: Path | str | None = None,
        device: str = "auto",
        backend: str = "auto",
        precision: str = "auto",
    ) -> Workspace:
        """Make a scan ready; parameters as in `segment_volume`. Nothing is encoded yet."""
        names = (enhance,) if isinstance(enhance, str) else tuple(enhance)
        windows = choose_window(volume, window)
        stack = SliceStack(volume, enhance=[name for name in names if name != LOCAL])
        loaded = model
        if isinstance(loaded, str):
            loaded = load_model(loaded, device=device, backend=backend, precision=precision)
        return cls(volume, stack, EmbeddingStore(loaded, stack, cache_dir=cache_dir), windows, LOCAL in names)

    def windows_for(self, prompts: Sequence[Prompt]) -> WindowSpec:
        """Return the windows to look through for one object."""
        return (window_around(self.volume, prompts),) if self.fits_window and prompts else self.windows

    def segment(
        self,
        prompts: Sequence[Prompt],
        *,
        plane: PlaneChoice = "auto",
        stops: StopRules | None = None,
        carry: CarryRules | None = None,
        zoom: ZoomRules | None = None,
        auto_zoom: bool = True,
        clean: CleanRules | None = None,
        on_progress: OnProgress | None = None,
    ) -> Segmentation:
        """Segment one object; parameters as in `segment_volume`."""
        stops, carry, clean = stops or StopRules(), carry or CarryRules(), clean or CleanRules()
        zoom = zoom or ZoomRules()
        timings: dict[str, float] = {}
        stages = _Stages(on_progress, sum(name in _WHOLE_SCAN for name in self.stack.enhance))
        with _timed(timings, "prepare"):
            check_prompts(prompts, self.volume.geometry)
            chosen = choose_plane(plane, prompts, self.volume.geometry)
            windows = self.windows_for(prompts)
            self.stack.prepare(on_progress=stages.enhanced if on_progress else None)
        with _timed(timings, "propagate"):
            found = propagate(
                self.store,
                prompts,
                plane=chosen,
                windows=windows,
                stops=stops,
                carry=carry,
                zoom=zoom,
                auto_zoom=auto_zoom,
                on_progress=stages.segmented if on_progress else None,
            )
        with _timed(timings, "clean"):
            array = clean_up(found, chosen, self.volume.geometry, clean)
        mask = Mask(array, self.volume.geometry, header=self.volume.header)
        settings = {
            "plane": chosen,
            "windows": [asdict(window) for window in windows],
            "enhance": [*self.stack.enhance, *([LOCAL] if self.fits_window else [])],
            "stops": asdict(stops),
            "carry": asdict(carry),
            "zoom": asdict(zoom) if auto_zoom else None,
            "clean": asdict(clean),
        }
        return Segmentation(mask, self._report(prompts, settings, found, mask, timings))

    def _report(
        self,
        prompts: Sequence[Prompt],
        settings: Mapping[str, Any],
        found: Propagation,
        mask: Mask,
        timings: Mapping[str, float],
    ) -> Report:
        volume = self.volume
        return Report(
            scan={
                "name": volume.name,
                "fingerprint": volume.fingerprint,
                "modality": volume.modality,
                "shape": list(volume.geometry.shape),
                "spacing_mm": list(volume.geometry.spacing_mm),
                "affine": volume.geometry.affine.tolist(),
            },
            prompts=dump_prompts(prompts, volume),
            model=facts_of(self.store.model),
            settings=settings,
            slices=found.slices,
            volume_ml=mask.volume_ml(),
            timings_s=timings,
            versions=package_versions(),
        )


def choose_plane(plane: PlaneChoice, prompts: Iterable[Prompt], geometry: Geometry) -> Plane:
    """Take the plane that the prompts were made on, else the one the scan was taken in.

    Parameters
    ----------
    plane : {"auto", "axial", "coronal", "sagittal"}
        Anything but ``"auto"`` is taken as it is.
    prompts : iterable of Prompt
        A flat box lies on a plane, and so does a mask drawn on one slice. Clicks do not.
    geometry : Geometry

    Returns
    -------
    {"axial", "coronal", "sagittal"}

    Raises
    ------
    GeometryError
        If the plane is unknown.

    Examples
    --------
    >>> grid = Geometry.from_spacing((40, 64, 64), spacing_mm=(5.0, 1.0, 1.0))
    >>> choose_plane("auto", [Box((3, 30, 10), (20, 30, 40))], grid)
    'coronal'
    """
    if plane != "auto":
        geometry.axes_of(plane)
        return plane
    for prompt in prompts:
        if isinstance(prompt, Box) and prompt.flat_axis is not None:
            return geometry.plane_across(prompt.flat_axis)
        if isinstance(prompt, MaskPrompt):
            flat = [axis for axis in range(3) if len(prompt.slices_along(axis)) == 1]
            if len(flat) == 1:
                return geometry.plane_across(flat[0])
    return geometry.native_plane


def clean_up(found: Propagation, plane: Plane, geometry: Geometry, rules: CleanRules) -> BoolArray:
    """Tidy a mask in 3D: drop islands that no prompted slice's mask touches, fill small holes.

    Parameters
    ----------
    found : Propagation
    plane : {"axial", "coronal", "sagittal"}
        It was made across.
    geometry : Geometry
    rules : CleanRules

    Returns
    -------
    (Z, Y, X) bool array
    """
    kept = found.mask
    if rules.drop_islands and found.prompted:
        kept = _islands_on(kept, geometry.axes_of(plane), found.prompted)
    if rules.holes_mm3 > 0:
        kept = np.asarray(fill_holes(Mask(kept, geometry), up_to_mm3=rules.holes_mm3).array)
    return kept


def _islands_on(mask: BoolArray, axes: PlaneAxes, indices: Iterable[int]) -> BoolArray:
    held = [np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    crop = tuple(slice(int(indices[0]), int(indices[-1]) + 1) for indices in held)
    islands, count = ndimage.label(mask[crop], structure=np.ones((3, 3, 3)))
    wanted = np.zeros(count + 1, bool)
    first, last = int(held[axes.normal][0]), int(held[axes.normal][-1])
    for index in indices:
        if first <= index <= last:
            wanted[slice_of(islands, axes, index - first)] = True
    wanted[0] = False
    kept = np.zeros_like(mask)
    kept[crop] = wanted[islands]
    return kept


class _Stages:
    """Counts enhancing a scan and segmenting it as one: in slices where it was enhanced already, else in percent."""

    def __init__(self, on_progress: OnProgress | None, enhancements: int) -> None:
        self._on_progress, self._enhancements = on_progress, enhancements
        self._begun, self._last = 0, (0, 0)

    def enhanced(self, done: int, total: int) -> None:
        """Take the counts of an enhancement; the next one begins to count anew."""
        last_done, last_total = self._last
        if total != last_total or done < last_done:
            self._begun = min(self._begun + 1, self._enhancements)
        self._last = (done, total)
        self._tell(self._begun - 1, done, total)

    def segmented(self, done: int, total: int) -> None:
        """Take the counts of `propagate`."""
        if self._begun:
            self._tell(self._enhancements, done, total)
        elif self._on_progress is not None:
            self._on_progress(done, total)

    def _tell(self, stages_before: int, done: int, total: int) -> None:
        if self._on_progress is not None:
            self._on_progress(100 * stages_before + 100 * done // max(total, 1), 100 * (self._enhancements + 1))


@contextmanager
def _timed(timings: dict[str, float], step: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    timings[step] = time.perf_counter() - started


def package_versions() -> dict[str, str]:
    """Return what makes a run repeatable: the versions of voxsam, Python and the packages that compute."""
    return {"python": platform.python_version(), **{package: _version_of(package) for package in _PACKAGES}}


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
