"""A chat that was deleted takes along the prompts that were saved for it.

Chats are deleted by deleting their files, so nothing is there to say so: whoever opens the saved
prompts asks which of their chats still exist.
"""

from runner.chat.sessions.store import is_deleted
from runner.kv.shelf import Shelf, shelf_dir


def opened_shelf() -> Shelf:
    """Return the saved prompts of all engines, without those of deleted chats."""
    shelf = Shelf(shelf_dir())
    forget_deleted_chats(shelf)
    return shelf


def forget_deleted_chats(shelf: Shelf) -> int:
    """Delete the saved prompts of chats that exist no longer; return how many there were."""
    gone = [owner for owner in shelf.owners() if is_deleted(owner)]
    return sum(len(shelf.clear(owner=owner)) for owner in gone)
