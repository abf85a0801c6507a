"""Wires everything, decides nothing: the only room that knows all rooms.

`gateway` puts one gateway together out of its parts: `stores` (where everything is kept), `identity` (who is calling),
`paying` (how money comes and goes) and `addresses` (which path is whose). `running` serves it in this process, `crew`
is the parent of several processes and `members` is what each of them does; `office` is for commands beside a gateway.
"""

from gateway.app.gateway import Gateway, mount
from gateway.app.running import Running
from gateway.app.stores import HEAD_KEY_PURPOSE, ledger_store, records_path

__all__ = ["HEAD_KEY_PURPOSE", "Gateway", "Running", "ledger_store", "mount", "records_path"]
