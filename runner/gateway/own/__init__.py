"""What the gateway answers by itself: the list of models, and its web page."""
