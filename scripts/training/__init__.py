"""A tiny Step that is trained: the exact graph in PyTorch, its files, and what trains it.

PyTorch is an extra (`pip install 'steprun[train]'`); nothing that steprun runs imports this.
Weights are dictionaries by GGUF name, each tensor with its GGUF shape back to front, so that
writing a file, reading one and keeping a checkpoint need no table of names.
"""
