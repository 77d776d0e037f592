"""A large clusterset on one Redis: how soon a change is applied, how long loading and recovery take, and what it costs.

    python -m bench.exchange [--members 250] [--endpoints 1000] [--rate 325] [--seconds 20] [--consumers 1]
                             [--subscribers 249] [--headless]

Every member publishes through a session of its own (real publisher, signatures and connections), all of them in one
process. Consumers are whole sessions that follow all other members, with a disk, a process each. As many whole
consumers as members would need as many machines, so the rest of the fan-out is light: subscribers that take every
message from Redis and drop it. Size and rate are those that Cilium published for Cluster Mesh. Endpoints travel as
counts, ten to a service; with --headless by address.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from bench._exchange import ENDPOINTS_PER_SERVICE, Consumer, Publishers, Size, Subscribers, Worker
from federation.exchange.server import EmbeddedRedis, find_redis_server

WARM_UP_SECONDS = 3.0


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def busy_seconds() -> float:
    """Processor time that this machine spent on anything."""
    user, nice, system = map(int, Path("/proc/stat").read_text().split(maxsplit=4)[1:4])
    return (user + nice + system) / os.sysconf("SC_CLK_TCK")


def show(what: str, figure: str, goal: str = "") -> None:
    print(f"{what:<58} {figure:>16}   {goal}", flush=True)


def measure(options: argparse.Namespace, redis: EmbeddedRedis, workers: list[Worker]) -> None:
    size = Size(redis.url, options.members, options.endpoints // ENDPOINTS_PER_SERVICE, options.headless)
    print(
        f"{size.members} members x {options.endpoints} endpoints ({size.services} services); {options.consumers} whole "
        f"consumers,\n{options.subscribers} light subscribers (they drop what they get), one Redis, "
        f"{os.cpu_count()} processors for all of it"
    )
    publishers = Worker(Publishers, size)
    subscribers = Worker(Subscribers, size, options.subscribers)
    workers += [publishers, subscribers]
    show("everything published", f"{publishers.ask('publish'):.1f} s")

    consumers = [Worker(Consumer, size, number) for number in range(options.consumers)]
    workers += consumers
    remote = (size.members - 1) * options.endpoints
    for consumer in consumers:
        seconds, megabytes, blocked = consumer.ask("load")
        show("cold load of everything", f"{seconds:.1f} s", "goal <= 10 s")
        show("  event loop busy at a stretch meanwhile, max", f"{blocked * 1000:.0f} ms")
        show("memory per 4,000 remote endpoints", f"{megabytes * 4000 / remote:.2f} MB", "goal <= 20 MB")

    time.sleep(WARM_UP_SECONDS)
    names = ("publishers", "subscribers", *(f"consumer {at}" for at in range(len(consumers))))
    show("connections of all", str(len(list(Path(f"/proc/{redis.pid}/fd").iterdir()))))
    pids = {"Redis": redis.pid or 0, **{name: worker.pid for name, worker in zip(names, workers, strict=True)}}
    for consumer in consumers:
        consumer.ask("listen")
    busy = busy_seconds()
    spent, began = {name: processor_seconds(pid) for name, pid in pids.items()}, time.monotonic()
    fanned_out = subscribers.ask("count")
    changed = publishers.ask("change", options.rate, options.seconds)
    time.sleep(2)
    took = time.monotonic() - began
    busy = busy_seconds() - busy
    spent = {name: processor_seconds(pid) - spent[name] for name, pid in pids.items()}
    show("changes", f"{len(changed) / options.seconds:.0f}/s for {options.seconds:g} s")
    late = sorted((made - due) * 1000 for due, made in changed.values())
    show("changes made late by the bench itself, p99 / max", f"{late[int(len(late) * 0.99)]:.0f} / {late[-1]:.0f} ms")
    for number, consumer in enumerate(consumers):
        heard, blocked = consumer.ask("heard")
        awaited = {key: made for key, made in changed.items() if key[0] != size.member(number).cluster}
        times = sorted((heard[key] - made) * 1000 for key, (_, made) in awaited.items() if key in heard)
        p50, p90, p99 = (times[int(len(times) * share)] for share in (0.5, 0.9, 0.99))
        show("change -> applied, p50 / p90", f"{p50:.0f} / {p90:.0f} ms")
        show("change -> applied, p99", f"{p99:.0f} ms", "goal <= 250 ms")
        show("change -> applied, max", f"{times[-1]:.0f} ms")
        show("changes that were not applied", str(len(awaited) - len(times)))
        show("event loop of the consumer busy at a stretch, max", f"{blocked * 1000:.0f} ms")
    show("sent to light subscribers", f"{(subscribers.ask('count') - fanned_out) / took / 1e6:.1f} MB/s")
    for name, seconds in spent.items():
        show(f"processor: {name}", f"{seconds / took * 100:.0f} %")
    others = f"{(busy - sum(spent.values())) / took * 100:.0f} %"
    show("processor: all else on this machine", others, "disturbs the figures above where it is much")

    redis.kill()
    time.sleep(2)
    lost_ms = int(time.time() * 1000)
    began = time.monotonic()
    for consumer in consumers:
        consumer.send("recovered", lost_ms)
    publishers.send("republished", 2)
    redis.start()
    show(
        "Redis killed, started empty: all published again after", f"{publishers.answer() - began:.1f} s", "goal <= 30 s"
    )
    for consumer in consumers:
        at, fewest = consumer.answer()
        show("  and everything confirmed by the consumer after", f"{at - began:.1f} s", "goal <= 30 s")
        show("  records shown meanwhile, at least", f"{fewest / ((size.members - 1) * (2 + 2 * size.services)):.0%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, default=250)
    parser.add_argument("--endpoints", type=int, default=1000, help="of each member")
    parser.add_argument("--rate", type=float, default=325.0, help="changes a second, of all members together")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--consumers", type=int, default=1)
    parser.add_argument("--subscribers", type=int, default=249)
    parser.add_argument("--headless", action="store_true", help="let every endpoint travel by its address")
    options = parser.parse_args()
    workers: list[Worker] = []
    with tempfile.TemporaryDirectory(prefix="federation-bench-") as name:
        redis = EmbeddedRedis(0, directory=Path(name), program=find_redis_server(os.environ))
        redis.start()
        try:
            measure(options, redis, workers)
        finally:
            for worker in workers:
                worker.stop()
            redis.stop()


if __name__ == "__main__":
    main()
