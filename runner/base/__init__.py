"""The ground floor: errors, text, paths and files. Imports nothing else of steprun."""
