"""The express road: bytes from caller to upstream and back, llhttp on both sides, and no aiohttp.

The life of a connection, one file each:

- `connection` is one caller's connection: heads in, answers out, one request at a time;
- `heads` reads heads, `bodies` finds where a request's body ends, `reading` where an answer does;
- `exchange` is one request and its answer, with the pump between the two sockets;
- `upstream` holds the pooled connections to upstreams: dial, reuse, health, bounds;
- `tunnel` passes bytes both ways after a `101`;
- `lending` serves our own addresses by aiohttp, one request at a time, on the same connection;
- `answers` writes answers of our own as bytes;
- `listener` binds the sockets, counts connections, and sweeps away what takes too long.
"""
