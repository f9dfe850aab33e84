"""The command line: it alone prints and asks."""
