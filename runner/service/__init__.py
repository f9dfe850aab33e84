"""`steprun serve` as a service of the user's: started by the system, and started again by it."""
