"""MCP servers: programs and services of others that offer the model tools.

The user names them in a file, switches each on in the chat, and allows each call. Nothing that
they send is trusted. What needs the `mcp` package is in `connection` and loaded with the first
server that is switched on.
"""
