"""The side of the clients: their connections, the bodies they send, the answers they get."""
