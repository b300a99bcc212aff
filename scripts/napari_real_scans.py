"""Segment real organs and lesions through the napari plugin, and print a table.

One click in the largest slice, propagated; then two corrective clicks, each in the middle of the largest error in 3D,
each followed by propagating anew. All of it goes through the dock's own reader, controller and worker, without a
window: ``VOXSAM_DATA=… QT_QPA_PLATFORM=offscreen python scripts/napari_real_scans.py``.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("NAPARI_CONFIG", "")  # nobody's settings are read or written

import numpy as np
from napari.components import ViewerModel
from napari.layers import Layer
from qtpy.QtWidgets import QApplication

import voxsam
from voxsam.evaluate.clicks import SimulatedClick, corrective_click, first_click
from voxsam.evaluate.metrics import dice
from voxsam_napari.grid import SliceView
from voxsam_napari.readers import get_reader
from voxsam_napari.tools import Gesture
from voxsam_napari.widget import VoxsamDock

#: Case of the manifest, label, what it is.
TARGETS = (
    ("case11", 3, "CT, left kidney (BTCV, manual)"),
    ("case11", 1, "CT, spleen (BTCV, manual)"),
    ("case01", 2, "MR T2, right kidney (CHAOS, manual)"),
    ("STS_002_MR_T1", 1, "MR T1, sarcoma (IBSI, manual)"),
    ("STS_002_CT", 1, "CT, sarcoma (IBSI, manual)"),
)
CORRECTIONS = 2


class Reader:
    """Somebody who works on one scan in the dock, by clicks."""

    def __init__(self, scan: Path) -> None:
        self.viewer = ViewerModel()
        read = get_reader(str(scan))
        if read is None:
            raise voxsam.FormatError(f"the plugin does not read {scan.name}; give a NIfTI, NRRD or DICOM scan")
        for data in read(str(scan)):
            self.viewer.add_layer(Layer.create(*data))
        self.dock = VoxsamDock(self.viewer)
        self.wait(lambda: self.dock.controller.session is not None)

    def wait(self, holds, seconds: float = 900.0) -> None:
        """Let the dock work until something holds and nothing is left to do."""
        end = time.monotonic() + seconds
        while not holds() or self.dock.worker.is_busy:
            if time.monotonic() > end:
                raise TimeoutError(f"waited {seconds:g} s in vain; the dock says {self.dock.panels.message.shown}")
            QApplication.processEvents()
            time.sleep(0.01)

    def click(self, click: SimulatedClick) -> None:
        """Go to a slice and click there, as the mouse tools hand clicks on."""
        controller = self.dock.controller
        geometry = controller.geometry
        plane = geometry.native_plane
        view = SliceView(plane, int(click.position[geometry.axes_of(plane).normal]))
        controller.go_to(view)
        asked = len(controller.item.prompts) if controller.item else 0
        controller.take(Gesture("point", np.array([click.position], float), click.positive, view))
        self.wait(lambda: controller.item is not None and len(controller.item.prompts) > asked)

    def propagate(self) -> np.ndarray:
        """Press the button; return what was found, (Z, Y, X) bool."""
        controller = self.dock.controller
        before = controller.item.mask
        self.dock.panels.propagate.run.click()
        self.wait(lambda: not controller.item.is_stale and controller.item.mask is not before)
        return controller.session.mask(controller.current).array > 0

    def close(self) -> None:
        """End the work."""
        self.dock.close_session()


def drive(scan: Path, truth: np.ndarray) -> list[float]:
    """Segment one structure; return the Dice of the first click and after each correction."""
    reader, scores = Reader(scan), []
    try:
        click = largest_slice_click(truth, reader.dock.controller.geometry)
        while click is not None and len(scores) <= CORRECTIONS:
            reader.click(click)
            found = reader.propagate()
            scores.append(dice(truth, found))
            click = corrective_click(truth, found, reader.dock.controller.geometry.spacing_mm)
    finally:
        reader.close()
    return scores


def largest_slice_click(truth: np.ndarray, geometry: voxsam.Geometry) -> SimulatedClick:
    """Click in the middle of the largest slice of the scan's own plane."""
    normal = geometry.axes_of(geometry.native_plane).normal
    rest = tuple(axis for axis in range(3) if axis != normal)
    index = int(truth.sum(axis=rest).argmax())
    in_slice = first_click(truth.take(index, axis=normal), [geometry.spacing_mm[axis] for axis in rest])
    return SimulatedClick(tuple(np.insert(np.array(in_slice.position), normal, index).tolist()), positive=True)


def load_target(data: Path, case: str, label: int) -> tuple[Path, np.ndarray]:
    """Return where a scan of the manifest lies, and one structure of it (Z, Y, X) bool."""
    entries = {entry["case"]: entry for entry in json.loads((data / "manifest.json").read_text())["eval"]}
    truth = voxsam.load_mask(data / entries[case]["mask"]).array == label
    return data / entries[case]["image"], truth


def main() -> None:
    """Segment every target; print the table."""
    application = QApplication.instance() or QApplication(sys.argv)
    data = Path(os.environ["VOXSAM_DATA"])
    print("| scan | one click | and a correction | and another |")
    print("|---|---|---|---|")
    for case, label, title in TARGETS:
        with tempfile.TemporaryDirectory() as sessions:
            os.environ["VOXSAM_SESSIONS"] = sessions  # no earlier session of this scan is found, and none is left
            scores = drive(*load_target(data, case, label))
        print(f"| {title} | {' | '.join(f'{score:.2f}' for score in scores)} |", flush=True)
    application.quit()


if __name__ == "__main__":
    main()
