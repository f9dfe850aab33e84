"""The gateway: what `steprun serve` listens with, in front of an engine that only it can reach.

`service` handles a request: `admission` says who may ask what, `bodies` reads and completes what
was asked, `pictures` converts pictures, `turns` decides whose turn it is, `keeper` keeps the engine
running, and `relay` passes its answer through as bytes.
"""
