"""How fast an engine is: StepFun's own grid of prompts, measured on this machine."""
