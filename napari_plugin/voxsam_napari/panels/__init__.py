"""What the dock shows: plain Qt panels that know neither napari nor a session."""

from voxsam_napari.panels.measures import MeasurePanel, MeasureShown
from voxsam_napari.panels.message import Message, MessageLine
from voxsam_napari.panels.model import ModelChoice, ModelPanel, ModelShown
from voxsam_napari.panels.objects import ObjectListPanel, ObjectRow, ObjectsShown
from voxsam_napari.panels.prompts import PromptPanel, PromptRow, PromptsShown
from voxsam_napari.panels.propagation import PropagatePanel, PropagateShown, Reach
from voxsam_napari.panels.saving import SavePanel, SaveShown
from voxsam_napari.panels.scan import EnhanceChoice, ScanPanel, ScanShown, WindowChoice
from voxsam_napari.panels.stack import PanelStack
from voxsam_napari.panels.strip import SliceStrip, StripPanel, StripShown, StripSlice

__all__ = [
    "EnhanceChoice",
    "MeasurePanel",
    "MeasureShown",
    "Message",
    "MessageLine",
    "ModelChoice",
    "ModelPanel",
    "ModelShown",
    "ObjectListPanel",
    "ObjectRow",
    "ObjectsShown",
    "PanelStack",
    "PromptPanel",
    "PromptRow",
    "PromptsShown",
    "PropagatePanel",
    "PropagateShown",
    "Reach",
    "SavePanel",
    "SaveShown",
    "ScanPanel",
    "ScanShown",
    "SliceStrip",
    "StripPanel",
    "StripShown",
    "StripSlice",
    "WindowChoice",
]
