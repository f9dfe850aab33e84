"""Images in a prompt: checked, bounded, and priced in tokens."""
