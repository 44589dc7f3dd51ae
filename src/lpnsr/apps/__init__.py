"""The programs, each a thin layer over ``lpnsr.upscaling``.

cli: the command. http, web: the servers, around jobs, a queue. ray: big batches.
files: the inputs of a batch, the names of its results and its messages. The command and Ray share these, and neither
of them may import the other.
"""
