"""Studies over HTTP: the server, its client, and workers that run trials for it.

Each module loads its own libraries; this one loads nothing, because the client needs no server.
"""
