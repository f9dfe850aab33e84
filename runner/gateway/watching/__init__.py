"""What is seen of a gateway: counted, logged and told to whoever asks."""
