"""`scripts/check_gpu`: one check of a machine with a GPU, and its report."""
