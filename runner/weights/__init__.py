"""The files of a model: reading their headers, finding them on disk, fetching them."""
