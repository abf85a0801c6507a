"""Wires everything, decides nothing: the only room that knows all rooms.

`gateway` puts one gateway together, `running` serves it in this process, `crew` is the parent of several processes
and `members` is what each of them does.
"""

from gateway.app.gateway import HEAD_KEY_PURPOSE, Gateway, ledger_store, mount, records_path
from gateway.app.running import Running

__all__ = ["HEAD_KEY_PURPOSE", "Gateway", "Running", "ledger_store", "mount", "records_path"]
