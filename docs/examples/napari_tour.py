"""Make the pictures of docs/napari-tour.md: a real window, real clicks on the sample CT, the model that ships.

    python docs/examples/napari_tour.py docs/images/napari

Without a screen: ``xvfb-run -a -s "-screen 0 1440x980x24" python docs/examples/napari_tour.py docs/images/napari``.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

os.environ["NAPARI_CONFIG"] = ""  # nobody's settings change the pictures
os.environ["VOXSAM_SESSIONS"] = tempfile.mkdtemp()  # no earlier session is found, and none is left

import numpy as np
from napari.layers import Layer, Surface
from PIL import Image
from qtpy.QtCore import QPoint, Qt
from qtpy.QtOpenGLWidgets import QOpenGLWidget
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QLineEdit, QScrollArea

import napari
from voxsam import load_mask
from voxsam.evaluate.clicks import corrective_click
from voxsam.evaluate.metrics import dice
from voxsam.samples import bundled_folder, sample
from voxsam_napari.grid import SliceView
from voxsam_napari.samples import ct_abdomen
from voxsam_napari.widget import VoxsamDock

TRUTH = load_mask(bundled_folder() / sample("ct-abdomen").truth)
LEFT, RIGHT = Qt.MouseButton.LeftButton, Qt.MouseButton.RightButton


def rest(seconds):
    """Let the window work; sleep between, so that the model has the processor."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.01)


class Visitor:
    """Somebody with a mouse before the window, who takes pictures of it."""

    def __init__(self, folder):
        self.folder = folder
        self.viewer = napari.Viewer(title="voxsam in napari", show=False)
        for data in ct_abdomen():
            self.viewer.add_layer(Layer.create(*data))
        self.dock = VoxsamDock(self.viewer)
        self.viewer.window.add_dock_widget(self.dock, name="voxsam", area="right")
        self.viewer.window.show()
        self.window = self.dock.window()
        self.window.setGeometry(0, 0, 1440, 980)
        self.panels, self.controller = self.dock.panels, self.dock.controller
        scene = getattr(self.viewer, "scene", self.viewer)  # where napari 0.9 keeps its camera
        self.camera = scene.camera
        self.until(lambda: self.controller.session is not None)
        self.viewer.reset_view(margin=0.02)

    def until(self, holds, seconds=600):
        """Wait until something holds, and until the window has drawn it."""
        end = time.monotonic() + seconds
        while not holds() or self.dock.worker.is_busy:
            if time.monotonic() > end:
                raise TimeoutError(f"waited {seconds} s in vain; the dock says {self.panels.message.shown}")
            rest(0.05)
        rest(0.5)

    def click(self, zyx, button=LEFT):
        """Click on a voxel of the scan, where the camera shows it."""
        layer, camera = self.controller.layers.points, self.camera
        world = np.array(layer.data_to_world(self.controller.layers.grid.to_data(np.array([zyx], float))[0]))
        canvas = self.window.findChild(QOpenGLWidget)
        middle = np.array([canvas.height(), canvas.width()]) / 2
        shown = list(self.viewer.dims.order[-2:])
        row, column = (world[shown] - np.array(camera.center)[-2:]) * camera.zoom + middle
        asked = len(self.controller.item.prompts) if self.controller.item else 0
        QTest.mouseMove(canvas, QPoint(round(column), round(row)))
        rest(0.05)
        QTest.mouseClick(canvas, button, Qt.KeyboardModifier.NoModifier, QPoint(round(column), round(row)))
        self.until(lambda: self.controller.item is not None and len(self.controller.item.prompts) > asked)

    def press(self, button):
        """Press a button of the dock."""
        self.until(button.isEnabled)
        QTest.mouseClick(button, LEFT)
        self.until(lambda: True)

    def name(self, text):
        """Begin an object and type its name."""
        self.press(self.panels.objects.add)
        self.panels.objects.rename_current()
        editor = self.panels.objects.findChild(QLineEdit)
        editor.selectAll()
        QTest.keyClicks(editor, text)
        QTest.keyClick(editor, Qt.Key.Key_Return)
        self.until(lambda: self.controller.item is not None and self.controller.item.name == text)

    def turn(self, plane, index):
        """Look at a slice."""
        self.controller.go_to(SliceView(plane, index))
        self.viewer.reset_view(margin=0.02)
        self.until(lambda: True)

    def picture(self, name):
        """Take a picture of the whole window, small and without anything else in the file."""
        rest(1.5)  # a list that grew is laid out in several passes
        shot = Image.fromarray(self.viewer.window.screenshot(flash=False)).convert("RGB")
        shot.save(self.folder / f"{name}.png", optimize=True)

    def scroll_to(self, part):
        """Bring a part of the dock in sight."""
        self.panels.findChild(QScrollArea).ensureWidgetVisible(part)

    def score(self, label):
        """Say how well the current object agrees with what was drawn."""
        truth = np.asarray(TRUTH.array) == label
        return dice(truth, np.asarray(self.controller.session.mask(self.controller.current).array))


def main(folder):
    """Walk through the work on one scan."""
    folder.mkdir(parents=True, exist_ok=True)
    visitor = Visitor(folder)
    panels = visitor.panels
    visitor.turn("axial", 32)
    visitor.picture("1-open")

    visitor.name("liver")
    visitor.click((32, 108, 86))
    visitor.picture("2-click")

    visitor.click((32, 146, 56), RIGHT)  # the tumour is not liver
    visitor.picture("3-correct")

    visitor.click((32, 90, 156))  # the left lobe is
    visitor.press(panels.propagate.run)
    print(f"liver, propagated: Dice {visitor.score(1):.2f}")
    visitor.picture("4-propagate")

    visitor.press(panels.strip.next)
    z = visitor.controller.view.index
    found = visitor.controller.session.mask(visitor.controller.current).array[z] > 0
    wrong = corrective_click(TRUTH.array[z] == 1, found, TRUTH.geometry.spacing_mm[1:])
    visitor.click((z, *wrong.position), LEFT if wrong.positive else RIGHT)
    visitor.press(panels.propagate.refine)
    print(f"liver, refined by a click on slice {z}: Dice {visitor.score(1):.2f}")
    visitor.picture("5-check")

    visitor.turn("coronal", 108)
    visitor.picture("6-coronal")

    visitor.turn("axial", 30)
    visitor.press(panels.objects.options)
    QTest.keyClick(panels.objects.overlap, Qt.Key.Key_Down)  # a new mask takes over
    visitor.name("liver tumour")
    visitor.click((30, 144, 56))
    visitor.click((30, 120, 60), RIGHT)  # the liver beside it is not the tumour
    visitor.press(panels.propagate.run)
    print(f"tumour, propagated: Dice {visitor.score(11):.2f}")
    visitor.scroll_to(panels.measure)
    visitor.press(panels.measure.view_3d)
    visitor.until(lambda: any(isinstance(layer, Surface) for layer in visitor.viewer.layers))
    visitor.camera.angles = (-20, 25, 170)
    visitor.picture("7-in-3d")

    visitor.press(panels.measure.view_3d)
    visitor.turn("axial", 30)
    with tempfile.TemporaryDirectory() as saved:
        panels.save.ask_path = lambda *_: str(Path(saved) / "ct-abdomen.nii.gz")
        visitor.scroll_to(panels.save)
        visitor.press(panels.save.save_mask)
        visitor.picture("8-save")
    visitor.viewer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
