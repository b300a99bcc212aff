"""The napari plugin: scans in and out the right way up, and a dock to segment them by prompts.

It translates between napari's layers and a `voxsam.session.Session`, and computes nothing itself.
"""
