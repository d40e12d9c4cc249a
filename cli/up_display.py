"""How `portfolio up` shows what it does: a live table on a terminal, plain lines elsewhere."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from infra.embedded.servers import Part
from infra.embedded.supervisor import Stage

_MARKS = {
    Stage.RUNNING: "[cyan]•[/]",
    Stage.READY: "[green]✓[/]",
    Stage.SKIPPED: "[dim]-[/]",
    Stage.DIED: "[red]✗[/]",
    Stage.STOPPING: " ",
}
_PLAIN_INTERVAL_S = 2.0


class _SteadyConsole(Console):
    """A console that falls silent when nobody reads it any more; rich's own would end the process then."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


class Display:
    """Shows stages of parts; safe to call from several threads."""

    def __init__(self, file: IO[str] | None = None) -> None:
        """Make a display that has shown nothing yet.

        Args:
            file: Where to write; None: standard output.
        """
        self._console = _SteadyConsole(file=file, highlight=False)
        self._lock = threading.Lock()
        self._stages: dict[str, tuple[Stage, str]] = {}
        self._said_at: dict[str, float] = {}
        self._live: Live | None = None

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Show progress in place while the block runs, where the output is a terminal."""
        if not self._console.is_terminal:
            yield
            return
        with Live(console=self._console, get_renderable=self._table, refresh_per_second=8) as live:
            self._live = live
            try:
                yield
            finally:
                self._live = None

    def report(self, name: str, stage: Stage, text: str) -> None:
        """Show the stage of a part; the supervisor calls it."""
        with self._lock:
            previous, _ = self._stages.get(name, (None, ""))
            self._stages[name] = (stage, text)
            if self._live is None and self._is_news(name, is_repeated=previous is stage):
                self.say(f"{name:<10} {stage.value:<9} {escape(text)}".rstrip())

    def is_ready(self, name: str) -> bool:
        """Whether the last stage of the part was READY."""
        with self._lock:
            return self._stages.get(name, (None, ""))[0] is Stage.READY

    def _is_news(self, name: str, *, is_repeated: bool) -> bool:
        """Progress within one stage is told every other second: a log has no need of each mebibyte."""
        now = time.monotonic()
        if is_repeated and now - self._said_at.get(name, 0.0) < _PLAIN_INTERVAL_S:
            return False
        self._said_at[name] = now
        return True

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 1))
        with self._lock:
            stages = dict(self._stages)
        for name, (stage, text) in stages.items():
            mark = Spinner("dots", style="cyan") if stage is Stage.STARTING else Text.from_markup(_MARKS[stage])
            table.add_row(mark, name, Text(text or stage.value, style="dim"))
        return table

    def show_addresses(self, parts: Sequence[Part], url: str) -> None:
        """Show what runs where, and the one address to open."""
        rows = [(part.name, part.address, _short(part.process.log_file)) for part in parts]
        names, addresses, _ = (max(map(len, column)) for column in zip(*rows, strict=True))
        # Not a table of rich's: that would cut the paths to the width of the terminal.
        self.say(f"\n[bold]{'part':<{names}}  {'address':<{addresses}}  log[/]")
        for name, address, log_file in rows:
            self.say(f"{name:<{names}}  {escape(address):<{addresses}}  {escape(log_file)}".rstrip())
        self.say(f"\nOpen [bold cyan]{url}[/]    (Ctrl-C stops everything, and keeps the data)\n")

    def fail(self, message: str) -> None:
        """Show why the stack ends."""
        self.say(f"[red]error:[/] {escape(message)}")

    def say(self, markup: str) -> None:
        """Show a line; a terminal that was closed must not keep the stack from stopping."""
        with suppress(OSError):
            self._console.print(markup, soft_wrap=True)


def _short(path: Path) -> str:
    current = Path.cwd()
    return str(path.relative_to(current)) if path.is_relative_to(current) else str(path)
