"""The chat as lines of plain text: for screen readers, slow lines, serial consoles and logs.

Nothing here needs Textual, moves the cursor or colours anything; a contract checks the first.
"""
