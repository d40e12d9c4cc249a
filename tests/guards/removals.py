"""Each guard that keeps the books whole, how to take it out, and the test that must notice.

A removal is a text of the code and what stands there without the guard. `test_removals` takes each out of a copy of the
code, one at a time, and runs the test that watches over it: it must pass with the guard and fail without.
"""

from dataclasses import dataclass

_CRASHES = "tests/simulation/test_worker.py::test_whatever_a_crash_leaves_behind_the_books_are_the_fold_of_the_log"
_WRITER = "tests/integration/test_postgres_writer.py"


@dataclass(frozen=True, slots=True)
class Removal:
    """A guard, and the code without it.

    Attributes:
        guard: What it is, in words.
        file: Where it is.
        text: The guard; the file has this text once.
        without: What stands there without it.
        test: The test that fails then.
    """

    guard: str
    file: str
    text: str
    without: str
    test: str


REMOVALS = (
    Removal(
        "the seek order: no record flows before the seek is done",
        "streams/recovery.py",
        "        consumer.stop_flow()\n",
        "",
        "tests/unit/streams/test_recovery.py::test_nothing_flows_until_the_seek_is_done",
    ),
    Removal(
        "the seek order: the application uses it",
        "streams/app.py",
        "        TableManager=OrderedTableManager,\n",
        "",
        "tests/unit/streams/test_recovery.py::test_the_application_uses_the_guard",
    ),
    Removal(
        "the offset fence: a record beyond the next one is not applied",
        "agents/ledger.py",
        "    if message.offset > next_offset:\n",
        "    if message.offset < 0:\n",
        _CRASHES,
    ),
    Removal(
        "the offset fence: it begins where the group goes on, not where a disk is that is ahead of the changelog",
        "streams/fence.py",
        "        return applied if committed is None else min(applied, committed)\n",
        "        return applied\n",
        _CRASHES,
    ),
    Removal(
        "the cursor: a fill is booked once",
        "portfolio/duplicates.py",
        "    if fill.trade_id < cursor.last_id:\n        return Novelty.DUPLICATE\n",
        "    if fill.trade_id < cursor.last_id:\n        return Novelty.NEW\n",
        "tests/unit/portfolio/test_duplicates.py::test_a_fill_seen_before_changes_nothing",
    ),
    Removal(
        "the cursor: a record of the log is published once it is in the book",
        "streams/account_log.py",
        "    if book is not None and book.position is not None and book.position >= position:\n",
        "    if False:\n",
        "tests/unit/streams/test_account_log.py::test_a_record_that_the_book_has_seen_publishes_nothing_but_is_stored_again",
    ),
    Removal(
        "the write-back: a book whose record was applied before is written again",
        "agents/ledger.py",
        "    if key is not None and stored is not None:\n        books[key] = stored\n",
        "",
        _CRASHES,
    ),
    Removal(
        "the order: outputs are published before the book is written",
        "agents/ledger.py",
        "    await publish(app, step.outputs, claim)\n",
        "    if key is not None:\n        books[key] = step.stored\n    await publish(app, step.outputs, claim)\n",
        _CRASHES,
    ),
    Removal(
        "the acknowledgement: a record counts as done when the broker has its changelog entries",
        "agents/ledger.py",
        "    for event in events:\n        books.acknowledge_after_changes(event)\n",
        "    for event in events:\n        event.ack()\n",
        _CRASHES,
    ),
    Removal(
        "the claim: who was suspended beyond its session writes nothing",
        "agents/ledger.py",
        "    if claim.is_old:\n        # Somebody",
        "    if claim is None:\n        # Somebody",
        "tests/simulation/test_worker.py::test_a_worker_that_was_suspended_beyond_its_session_writes_nothing",
    ),
    Removal(
        "the newest book: what a cut-off worker delivers late undoes nothing",
        "streams/tables.py",
        "            if is_older(message.key, message.value, newest[place]):\n",
        "            if message is None:\n",
        "tests/unit/streams/test_tables.py::test_an_old_book_of_a_worker_that_had_lost_the_partition_undoes_nothing",
    ),
    Removal(
        "the dead letters: what cannot be read is kept with its reason",
        "agents/ledger.py",
        "        await publish(app, run.letters, run.claim)\n",
        "",
        _CRASHES,
    ),
    Removal(
        "the order of dead letters: records that were rejected are done after those before them",
        "streams/dead_letters.py",
        "            await before.settle()\n        self.is_open = False\n",
        "            pass\n        self.is_open = False\n",
        _CRASHES,
    ),
    Removal(
        "the order of dead letters: a record that is booked is done after those that were rejected before it",
        "agents/ledger.py",
        "        await burials.settle(event)\n",
        "        pass\n",
        _CRASHES,
    ),
    Removal(
        "the order of dead letters: what was given up comes again",
        "agents/ledger.py",
        "            fence.expect_again(event)\n",
        "            pass\n",
        _CRASHES,
    ),
    Removal(
        "the order of dead letters: what waits behind a record that was given up is given up with it",
        "streams/dead_letters.py",
        "        if not self._done.result():\n            raise Abandoned\n",
        "",
        _CRASHES,
    ),
    Removal(
        "the version check in the sink: an update that is stored already changes nothing",
        "infra/postgres/writer.py",
        "    if state is not None and state.has_seen(until):\n        return rows\n",
        "",
        f"{_WRITER}::test_any_cut_and_any_repetition_gives_the_same_rows",
    ),
    Removal(
        "the version check in the sink: older prices change nothing",
        "infra/postgres/accounts.py",
        "    if snapshot.valued_time_us <= state.valued_time_us:\n        return state\n",
        "",
        f"{_WRITER}::test_marks_move_prices_forward_only",
    ),
    Removal(
        "the version check in the sink: where to read on never goes back",
        "infra/postgres/statements.py",
        "next_offset = greatest(sink_offsets.next_offset, excluded.next_offset)",
        "next_offset = excluded.next_offset",
        f"{_WRITER}::test_offsets_are_stored_with_what_they_cover",
    ),
)
