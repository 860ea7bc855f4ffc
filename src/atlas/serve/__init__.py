"""vLLM servers: started, watched, updated and stopped; all of it on the trainer's side of HTTP.

What runs in the server's own interpreter is in ``atlas.serve.inside``.
"""
