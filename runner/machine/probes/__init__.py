"""One probe for each kind of computer: each reads facts through a `Reader`."""
