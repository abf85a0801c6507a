"""Logs: events, and one cheap line per request. Never a token, a cookie, a body, an e-mail address or a key.

`writer` keeps every log out of a request's way, `requests` has the line of a request, `events` everything else,
`files` a file of our own that is put aside when it is large or old, and `policy` says of each field whether it is ever
logged.
"""

from gateway.adapters.logs.events import close, configure, report, report_as_guest
from gateway.adapters.logs.files import LogFile
from gateway.adapters.logs.requests import RequestLog
from gateway.adapters.logs.writer import LineWriter

__all__ = ["LineWriter", "LogFile", "RequestLog", "close", "configure", "report", "report_as_guest"]
