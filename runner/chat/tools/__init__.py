"""Tools that a model may call during an answer: what they are, who runs them, what they return.

A toolbox offers tools and runs their calls: the pictures' own (zoom, mark), and one for each MCP
server that the user has configured.
"""
