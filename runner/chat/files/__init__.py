"""Files in a message: found by what is typed, read within bounds, priced, and put into its text."""
