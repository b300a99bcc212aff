"""The plugin's doctests."""

import napari_loaded  # noqa: F401
