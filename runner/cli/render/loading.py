"""The line that is shown while an engine loads. Pure."""

from runner.base.loaded import Loaded


def loading_words(title: str, seconds: float, loaded: Loaded | None) -> str:
    """Return how far a model is loaded, if that is known, else for how long it has been loading."""
    far = loaded.forms(seconds)[0] if loaded is not None else f"{seconds:.0f} s"
    return f"loading {title} ... {far}"
