"""Whatever happens on the way, a replica converges on what its member says, and never goes back."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from federation.exchange.base import Rejected
from federation.exchange.memory import MemoryExchange
from federation.exchange.publisher import Batch, Publisher
from federation.exchange.replica import LoadLog, Replica, Step
from federation.exchange.signing import BlobKind
from federation.model.names import RecordKey
from federation.model.records import Record, Version
from federation.model.wire import Reason
from support.exchange import CLUSTERSET, bundle, by_key, endpoints, key_of, member_of

T = TypeVar("T")


def done(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never waits, as those of the memory exchange."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    raise AssertionError("it waits")


class ReplicaHistory(RuleBasedStateMachine):
    """A member that changes, restarts and loses data; a channel that loses, repeats and reorders; one reader."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.member = member_of("east")
        # Three entries: the log is trimmed all the time.
        self.exchange = MemoryExchange(lambda: self.now, log_length=3)
        self.publisher = Publisher(self.member, key_of("east"), CLUSTERSET)
        self.replica = Replica(self.member, CLUSTERSET, lease_seconds=3.0)
        self.values: dict[str, int] = {}
        self.sequence = 0
        self.epoch = 0
        self.history: dict[Version, Mapping[RecordKey, Record]] = {}
        self.channel: list[bytes] = []
        self.sent: list[bytes] = []
        self.highest: Version | None = None
        self.rejected: list[Rejected] = []
        self.shown: dict[RecordKey, Record] = {}
        self.orderly = True
        self._republish()
        self.reconnect()

    # The member's side.

    def _desired(self) -> dict[RecordKey, Record]:
        records = [endpoints(name, ready) for name, ready in self.values.items()]
        return by_key(*records, bundle(self.sequence, authority=b"%d" % self.sequence))

    def _send(self, blob: bytes) -> None:
        self.channel.append(blob)
        self.sent.append(blob)

    def _republish(self) -> None:
        # The clock stands still in this history: each epoch has to come from the one before.
        self.epoch = self.publisher.next_epoch(1000, [self.epoch])
        assert self.publisher.desire(self._desired()) == ()
        whole = self.publisher.replacement(self.epoch, 0)
        done(self.exchange.replace(self.member.cluster, whole.snapshot, whole.lease, 60))
        self.publisher.replaced(whole)
        self.history[whole.version] = self._desired()
        self._send(whole.lease)

    @rule(name=st.sampled_from("abcd"), ready=st.integers(0, 3))
    def change(self, name: str, ready: int) -> None:
        self.values[name] = ready

    @rule(name=st.sampled_from("abcd"), readies=st.lists(st.integers(0, 3), max_size=5))
    def change_at_once(self, name: str, readies: list[int]) -> None:
        for ready in readies:
            self.values[name] = ready
            self.publish()

    @rule(name=st.sampled_from("abcd"))
    def withdraw(self, name: str) -> None:
        self.values.pop(name, None)

    @rule()
    def rotate(self) -> None:
        self.sequence += 1

    @rule()
    def publish(self) -> None:
        self._settle()
        assert self.publisher.desire(self._desired()) == ()
        while (batch := self.publisher.batch()) is not None:
            if not self._append(batch):
                self.publisher.lost()
                self._republish()
                return
            self.publisher.appended()

    @rule()
    def publish_and_hear_no_answer(self) -> None:
        self._settle()
        assert self.publisher.desire(self._desired()) == ()
        if (batch := self.publisher.batch()) is not None:
            self._append(batch)

    def _append(self, batch: Batch) -> bool:
        written = self.publisher.written
        assert written is not None
        # A batch on offer may be older than what is desired by now.
        self.history.setdefault(batch.version, self._desired())
        taken = done(self.exchange.append(self.member.cluster, written, batch.version, batch.blob))
        if taken and batch.blob not in self.sent:
            self._send(batch.blob)
        return taken

    @rule()
    def compact(self) -> None:
        if self._update() is False:
            self._republish()
        else:
            self.publisher.compacted()

    @rule()
    def compact_and_hear_no_answer(self) -> None:
        self._update()

    def _update(self) -> bool | None:
        compaction = self.publisher.compaction()
        written = self.publisher.written
        if compaction is None or written is None:
            return None
        return done(self.exchange.update(self.member.cluster, written, compaction.snapshot, compaction.removed))

    def _settle(self) -> None:
        if self.publisher.compacting:
            self.compact()

    @rule()
    def beat(self) -> None:
        self.publish()
        written, lease = self.publisher.written, self.publisher.lease(0)
        assert written is not None
        assert lease is not None
        if done(self.exchange.renew(self.member.cluster, written, lease, 60)):
            self._send(lease)
        else:
            self._republish()

    @rule()
    def lose_all_data(self) -> None:
        self.exchange.forget()

    @rule()
    def restart(self) -> None:
        self.publisher = Publisher(self.member, key_of("east"), CLUSTERSET)
        self._republish()

    # The reader's side.

    def _take(self, step: Step) -> None:
        from_log = False
        while True:
            self.rejected += step.rejected
            before, self.shown = self.shown, dict(self.replica.records)
            differing = {key for key in before.keys() | self.shown if before.get(key) != self.shown.get(key)}
            # Several batches of one log read may change a record there and back.
            assert differing == step.changed if not from_log else differing <= step.changed
            if step.need is None:
                return
            cluster = self.member.cluster
            from_log = isinstance(step.need, LoadLog)
            if isinstance(step.need, LoadLog):
                step = self.replica.on_log(done(self.exchange.read_log(cluster, step.need.after)))
            else:
                stored = done(self.exchange.read_snapshot(cluster))
                step = self.replica.on_absent() if stored is None else self.replica.on_snapshot(stored)

    @precondition(lambda self: self.channel)
    @rule()
    def deliver(self) -> None:
        self._take(self.replica.on_message(self.channel.pop(0), self.now))

    @precondition(lambda self: self.channel)
    @rule()
    def lose_a_message(self) -> None:
        self.channel.pop(0)

    @precondition(lambda self: len(self.channel) > 1)
    @rule(data=st.data())
    def deliver_out_of_order(self, data: st.DataObject) -> None:
        self.orderly = False
        at = data.draw(st.integers(1, len(self.channel) - 1))
        self._take(self.replica.on_message(self.channel.pop(at), self.now))

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        self.orderly = False
        self._take(self.replica.on_message(data.draw(st.sampled_from(self.sent)), self.now))

    @rule()
    def deliver_all(self) -> None:
        while self.channel:
            self.deliver()

    @rule()
    def reconnect(self) -> None:
        self.replica.on_disconnected(self.now)
        self._take(self.replica.on_connected(done(self.exchange.read_lease(self.member.cluster)), self.now))

    # What always holds.

    @invariant()
    def never_goes_back(self) -> None:
        version = self.replica.version
        if self.highest is not None:
            assert version is not None
            assert version >= self.highest
        self.highest = version

    @invariant()
    def shows_what_was_said_at_its_version(self) -> None:
        expected = {} if self.replica.version is None else self.history[self.replica.version]
        assert expected == self.replica.records

    @invariant()
    def honest_histories_reject_nothing(self) -> None:
        if self.orderly:
            assert self.rejected == []
        else:
            assert {one.reason for one in self.rejected} <= {Reason.REPLAYED}

    def teardown(self) -> None:
        """Once messages arrive again, two beats bring the replica to what the member says."""
        self.publish()
        self.compact()
        self.beat()
        self.channel.clear()
        self.beat()
        self.deliver()
        assert self._desired() == self.replica.records
        assert self.replica.synced
        assert self.replica.fresh(self.now)
        lease = done(self.exchange.read_lease(self.member.cluster))
        assert self.publisher.epoch_of(BlobKind.LEASE, lease) == self.epoch


TestReplicaHistory = ReplicaHistory.TestCase
TestReplicaHistory.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
