"""The same answer from another replica: what is remembered of a stream, and how it goes on.

Pure: bytes in, bytes out. In mode *exact* the gateway asks vLLM for token ids (`return_token_ids`), keeps
them, and takes them out again, so that the client's bytes are the same with and without it. In mode *text*
nothing is added, and the text so far is continued.
"""
