"""Engines that others built: listed, downloaded, checked, unpacked."""
