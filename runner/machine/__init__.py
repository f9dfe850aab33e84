"""What machine is this? `probe.detect(capture.Live())` answers with `facts.Machine`.

Nothing is imported here: `facts` must stay cheap for those who only need the names.
"""
