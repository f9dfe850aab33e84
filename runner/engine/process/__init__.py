"""Engine processes: started under a guard, watched, asked what they would take, stopped."""
