"""MLflow runs, written by a process of their own. Imports `utils` and `config`.

Of three forms this is the cheapest and the simplest: importing MLflow in each stage, or in a child
of each, costs 2 s of CPU time a stage; a socket to one writer costs 200 ms of waiting for its
replies, a protocol, and what a killed writer has not written. Records appended to a file cost a
stage 3 to 6 ms, wait for nothing, and can be replayed.
"""
