"""What a promptable model is to the rest of voxsam: numpy in, numpy out, an opaque embedding between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from voxsam.errors import PromptError

__all__ = [
    "Embedding",
    "Memory",
    "ModelCard",
    "Preprocessing",
    "PromptableModel",
    "SliceLogits",
    "SlicePrompts",
    "TrackingModel",
    "WeightsFile",
]

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Preprocessing:
    """How a view's pixels become a model's input, and its masks the view's; a property of the checkpoint.

    Parameters
    ----------
    input_size : int
        Side of the square input in pixels.
    resize : {"longest_side", "squash"}
        Keep the aspect and pad at the bottom and right, or stretch to the square.
    mean, std : tuple of float
        Subtracted and divided per channel after scaling to 0..1; zeros and ones for none.
    resampling : {"bilinear", "bicubic", "area", "cubic"}
        How the 8-bit view is resized: Pillow's filters, OpenCV's mean over areas, scikit-image's cubic spline.
    stretch : {"none", "view", "input"}
        Whether darkest to brightest become the whole range: of each channel of the view before it is resized, or of
        the resized view, channels together, before it is padded.
    whole_prompts : bool
        Positions are cut to whole pixels of the input.
    mean_of : {"logits", "probabilities"}
        What is interpolated where a mask is enlarged to the view.
    """

    input_size: int
    resize: Literal["longest_side", "squash"] = "longest_side"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    resampling: Literal["bilinear", "bicubic", "area", "cubic"] = "bilinear"
    stretch: Literal["none", "view", "input"] = "none"
    whole_prompts: bool = False
    mean_of: Literal["logits", "probabilities"] = "logits"


#: SPDX names of licences that ask no more than to be named: models under another one say so before they are used.
PERMISSIVE = frozenset({"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "CC-BY-4.0", "ISC", "MIT"})


@dataclass(frozen=True)
class WeightsFile:
    """A published weights file: where it is, and how to know it.

    Parameters
    ----------
    url : str
    sha256 : str or None
        None where the publisher gives none.
    size_mb : float
    name : str
        Of the file, where the address does not end in it.
    md5 : str or None
        Where the publisher gives this instead; it tells a damaged file, not a forged one.
    """

    url: str
    sha256: str | None
    size_mb: float
    name: str = ""
    md5: str | None = None

    @property
    def filename(self) -> str:
        """The file's own name, as published."""
        return self.name or self.url.rsplit("/", 1)[-1]

    @property
    def digest(self) -> str | None:
        """The hash to check, as ``"sha256:…"`` or ``"md5:…"``; None where none was published."""
        given = (("sha256", self.sha256), ("md5", self.md5))
        return next((f"{kind}:{value}" for kind, value in given if value), None)


@dataclass(frozen=True)
class ModelCard:
    """What a user should know about a model before choosing it.

    Parameters
    ----------
    name : str
        The exact name it is called by.
    title : str
        One line for a list.
    builder : str
        ``"module:function"`` that builds the model from a card; a string, so that a list of cards needs no torch.
    preprocessing : Preprocessing
    licence : str
        SPDX name of the weights' licence, or what their publisher says where there is no such name.
    parameters_m : float
        Millions of parameters.
    speed_class : str
        What to expect on a laptop's CPU, in words.
    weights : WeightsFile or None
        None: the weights ship with voxsam.
    options : mapping
        Keyword arguments for the builder (sizes of the encoder).
    citation : str
    needs : str
        A package of the extra ``hf`` that the builder imports; empty where voxsam's own suffice.
    """

    name: str
    title: str
    builder: str
    preprocessing: Preprocessing
    licence: str
    parameters_m: float
    speed_class: str
    weights: WeightsFile | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    citation: str = ""
    needs: str = ""

    @property
    def permissive(self) -> bool:
        """True: the licence asks no more than to be named."""
        return self.licence in PERMISSIVE


@dataclass(frozen=True, eq=False)
class Embedding:
    """What an image encoder made of one view; opaque to everyone but the model that made it.

    Parameters
    ----------
    features : mapping of str to array
        numpy arrays or tensors, perhaps on a GPU.
    image_shape : tuple of int, (H, W)
        Shape of the view it was made from.
    """

    features: Mapping[str, Any]
    image_shape: tuple[int, int]

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Copy the features to numpy, from wherever they are."""
        return {
            name: np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
            for name, value in self.features.items()
        }


@dataclass(frozen=True, eq=False)
class SlicePrompts:
    """Prompts on one view, in its pixels.

    Parameters
    ----------
    points_xy : (N, 2) float array
        Pixel positions; whole numbers are pixel centres.
    point_labels : (N,) int array
        1 for foreground, 0 for background.
    box_xyxy : (4,) float array or None
        Left, top, right, bottom: the outer pixel centres of the box.
    mask_logits : (H, W) float array or None
        An earlier answer on the view's own pixels; positive inside.
    low_res_logits : (h, w) float array or None
        An earlier answer exactly as the model gave it (`SliceLogits.low_res_logits`); goes before `mask_logits`.
    box_is_tight : bool
        The box was drawn around the object on this slice. False where it was drawn through many slices: on most of
        them the object is smaller. Models that were not made to know the difference take no notice.

    Raises
    ------
    PromptError
        If shapes do not match, or nothing was asked.
    """

    points_xy: FloatArray = field(default_factory=lambda: np.zeros((0, 2), np.float32))
    point_labels: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    box_xyxy: FloatArray | None = None
    mask_logits: FloatArray | None = None
    low_res_logits: FloatArray | None = None
    box_is_tight: bool = True

    def __post_init__(self) -> None:
        points = np.asarray(self.points_xy, np.float32).reshape(-1, 2)
        labels = np.asarray(self.point_labels, np.int64).reshape(-1)
        if len(points) != len(labels):
            raise PromptError(f"{len(points)} points came with {len(labels)} labels; give one label a point")
        if self.box_xyxy is not None:
            object.__setattr__(self, "box_xyxy", np.asarray(self.box_xyxy, np.float32).reshape(4))
        if not len(points) and self.box_xyxy is None and self.mask_logits is None and self.low_res_logits is None:
            raise PromptError("no prompt: give a point, a box or an earlier mask")
        object.__setattr__(self, "points_xy", points)
        object.__setattr__(self, "point_labels", labels)


@dataclass(frozen=True, eq=False)
class SliceLogits:
    """A model's answers to `SlicePrompts`, in the decoder's order when several were asked for; `best` has the index.

    Parameters
    ----------
    logits : (M, H, W) float32 array
        On the view's own pixels; positive inside.
    scores : (M,) float32 array
        Predicted IoU of each mask.
    low_res_logits : (M, h, w) float32 array
        As the decoder gave them; feed one back as `SlicePrompts.low_res_logits`.
    pointer : Any
        What a tracking model wants to be shown again in `TrackingModel.remember`; opaque, None for other models.
    """

    logits: FloatArray
    scores: FloatArray
    low_res_logits: FloatArray
    pointer: Any = None

    @property
    def best(self) -> int:
        """Index of the mask with the highest score."""
        return int(np.argmax(self.scores))


@runtime_checkable
class PromptableModel(Protocol):
    """Encode a view once, prompt it many times.

    Implementations keep no state between calls, and may be called from one thread at a time.
    """

    @property
    def card(self) -> ModelCard:
        """What the model is."""
        ...

    @property
    def weights_sha256(self) -> str:
        """Hash of the weights in use; part of every cache key and report."""
        ...

    def encode(self, pixels: FloatArray) -> Embedding:
        """Run the image encoder.

        Parameters
        ----------
        pixels : (H, W, 3) float32 array in 0..1
            A windowed view with square pixels; three equal channels, or three windows.
        """
        ...

    def decode(self, embedding: Embedding, prompts: SlicePrompts, *, multimask: bool = False) -> SliceLogits:
        """Answer prompts on an encoded view.

        Parameters
        ----------
        embedding : Embedding
            Of this model; its features may be numpy arrays read back from disk, in half precision too.
        prompts : SlicePrompts
        multimask : bool
            True: the three masks with their scores, as the decoder orders them. False: the model's one best answer.
        """
        ...


@dataclass(frozen=True, eq=False)
class Memory:
    """A view whose answer is known, as a tracking model remembers it; opaque to everyone but that model.

    Parameters
    ----------
    features : mapping of str to array
    prompted : bool
        A user said so; otherwise the model found it on its way.
    """

    features: Mapping[str, Any]
    prompted: bool


@runtime_checkable
class TrackingModel(PromptableModel, Protocol):
    """A model that finds on one view what it was shown on others of the same region, near by.

    It keeps no state either: what it remembers is handed out, and handed in again.
    """

    @property
    def memory_slots(self) -> int:
        """How many memories `track` makes use of; of more, the caller leaves out the farthest unprompted ones."""
        ...

    def remember(self, embedding: Embedding, mask_logits: FloatArray, *, prompted: bool, pointer: Any = None) -> Memory:
        """Make a memory of a view and its answer.

        Parameters
        ----------
        embedding : Embedding
            Of this model.
        mask_logits : (H, W) float array
            The answer on the view's own pixels; positive inside. It may have been corrected, or drawn.
        prompted : bool
        pointer : Any
            `SliceLogits.pointer` of the answer, where the model gave it.
        """
        ...

    def track(
        self,
        embedding: Embedding,
        memories: Sequence[tuple[int, Memory]],
        prompts: SlicePrompts | None = None,
    ) -> SliceLogits:
        """Find on a view what the memories show.

        Parameters
        ----------
        embedding : Embedding
            Of the view that is asked about.
        memories : sequence of (int, Memory)
            With the number of slices from this view to the remembered one: negative before it, positive after it.
        prompts : SlicePrompts, optional
            What else is known about this view.

        Returns
        -------
        SliceLogits
            One mask; empty where the object is not in this view.
        """
        ...
