"""Books from a file: read events in one of several formats, fold them, tell what came out.

No broker and no database: the same ledger as the stream's, over a file.
"""

from portfolio.replay.accounts import AccountReplay, Replay
from portfolio.replay.formats import read_lines
from portfolio.replay.lines import InvalidLine, Line
from portfolio.replay.report import AccountReport, report_account

__all__ = ["AccountReplay", "AccountReport", "InvalidLine", "Line", "Replay", "read_lines", "report_account"]
