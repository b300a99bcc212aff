"""What a user says about one object: points, boxes, scribbles and masks, and their JSON form."""

from voxsam.prompts.document import dump_prompts, load_prompts
from voxsam.prompts.kinds import Box, MaskPrompt, Point, Prompt, Scribble, check_prompt, check_prompts

__all__ = [
    "Box",
    "MaskPrompt",
    "Point",
    "Prompt",
    "Scribble",
    "check_prompt",
    "check_prompts",
    "dump_prompts",
    "load_prompts",
]
