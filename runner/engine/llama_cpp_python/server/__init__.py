"""llama-cpp-python's server, with llama-server's flags: `python -m NAME FLAGS`.

A copy of this package lies in each such engine's own environment, where llama-cpp-python is and
steprun is not: it imports nothing else of steprun. The app and its routes are those of
`python -m llama_cpp.server`. What that lacks is added here, and nothing else:

* the key comes from a file, and the environment's API_KEY, HOST, CACHE ... set nothing;
* `/health` answers once the model is loaded, and SIGTERM ends the process at once;
* Step's sliding window is kept at its size: at full length its cache would take 45 GiB at 262,144
  tokens; a prompt's beginning is used again only where the window before its end is still there;
* `reasoning_effort`, `chat_template_kwargs` and `stream_options` reach the template and the answer;
* an answer whose thinking the template has opened begins with `<think>`, to be separable;
* a picture has to be in its request: no address is fetched, and no file read;
* an error in mid-answer is reported, not only a broken connection; no prompt is printed to the log.

It has no slots, no drafting, no tool-call parser and no progress of a prompt; requests wait for
each other, and a prefill runs to its end even where nobody waits any more.
"""
