"""napari, loaded once and quietly, before any test or doctest of the plugin needs it.

What others deprecate while napari loads is not ours to mend; what is deprecated afterwards is an error, as elsewhere.
"""

import os
import warnings

os.environ["NAPARI_CONFIG"] = ""  # read when napari loads: nobody's settings are read or written

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import napari.viewer  # noqa: F401
