"""The gateway: what `steprun serve` listens with, in front of an engine that only it can reach.

`run` ties it together from start to end, `service` handles one request; `routes.toml` is the table
of what is answered. A folder for each part:

- `clients`: connections, bodies as they arrive, answers as they leave.
- `admission`: who may ask what; names, origins, keys, TLS. `guard` makes it from the settings.
- `bodies`: what a body asks, what is wrong with it, and what the engine is asked for it. Pure.
- `pictures`: converts and downloads pictures.
- `engine`: keeps it running, whose turn it is there, and its answers, passed through as bytes.
- `own`: what the gateway answers itself: the list of models, the web page.
- `ollama`: the one API that the engine does not speak.
- `watching`: what `ps`, `logs`, `/health` and `/metrics` are told.

`asking` is the other side: other commands of steprun that ask a gateway.
"""
