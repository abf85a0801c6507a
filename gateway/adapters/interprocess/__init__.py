"""The line between the keeper's process and the workers of one host: a private Unix socket, frames both ways.

`frames` is how a message is written, `keeper` serves the workers, `worker` is a worker's side: a ledger store that
lends, request limits, and the news that a token was recorded. Both ends are processes of one gateway, made by one
parent: the socket stands in a folder that only their user may enter.
"""
