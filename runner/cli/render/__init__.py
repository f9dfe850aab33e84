"""How values look on a terminal: one module for each kind of document."""
