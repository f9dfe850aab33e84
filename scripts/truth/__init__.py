"""The ledger against the engine: what `check_ledger`, `compare_ledgers` and the tests share."""
