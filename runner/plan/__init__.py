"""What can run here: the ledger, the choice, the launch line. Pure arithmetic."""
