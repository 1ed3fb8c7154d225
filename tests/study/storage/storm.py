"""Workers that ask one study for trials and are killed at random: storm.py URL SEED.

One process loads the storage and forks the workers, which share nothing with it but the database
and a pipe that they write a line to now and then. It prints the lines, and after so many of them,
drawn from the seed, it kills a worker that holds a trial and starts another, until none is open.
"""

import os
import random
import select
import signal
import sys
import time

from mixopt.space import Observation
from mixopt.study.storage import State, Storage, this_worker

WORKERS = 16
KILLS = 40
STUDY = 1
RUNGS = (250_000, 500_000, 1_000_000)
POLL = 0.05


def loss(trial, tokens):
    """A value that any attempt of a trial measures alike."""
    return int(trial.removeprefix("t")) + 1 / tokens


def work(url, out):
    """Ask, train, tell, until nothing is left to ask for."""
    store = Storage(url)
    me = this_worker()

    def note(*words):
        # One write of a short line: those of two processes never mix.
        os.write(out, (" ".join(map(str, words)) + "\n").encode())

    while True:
        found = store.lease(STUDY, worker=me, seconds=3600, n=1)
        if not found:
            if not any(r.open for r in store.trials(STUDY)):
                return
            time.sleep(POLL)
            continue
        [(record, lease)] = found
        name = record.trial.id
        note("take", name, record.attempts, me)
        for tokens in RUNGS:
            value = Observation(trial=name, tokens=tokens, metric="loss", value=loss(name, tokens))
            end = State.finished if tokens == RUNGS[-1] else None
            store.record(STUDY, name, [value], lease=lease, end=end)
        note("told", name, record.attempts, me)


def spawn(url, out):
    pid = os.fork()
    if pid:
        return pid
    try:
        work(url, out)
        os._exit(0)
    except BaseException as problem:
        os.write(out, f"problem {' '.join(repr(problem).split())}\n".encode())
        os._exit(1)


def follow(text, holding):
    """Brings `holding`, the processes that took a trial and have not told it, up to `text`."""
    for what, *_, worker in map(str.split, text.decode().splitlines()):
        if what == "problem":
            continue
        pid = int(worker.split(":")[1])
        (holding.add if what == "take" else holding.discard)(pid)


def main(url, seed):
    draw = random.Random(seed)
    # What every worker needs is loaded once, the driver of the database included.
    Storage(url).close()
    lines, out = os.pipe()
    alive = {spawn(url, out) for _ in range(WORKERS)}
    holding = set()
    kills, wait = 0, 0
    while alive or select.select([lines], [], [], 0)[0]:
        if select.select([lines], [], [], POLL)[0]:
            # The workers' own progress is the clock, so a slow machine is only slower.
            text = os.read(lines, 1 << 16)
            sys.stdout.buffer.write(text)
            wait -= text.count(b"\n")
            follow(text, holding)
            # One that waits for a trial would lose nothing by its death. The last line of a worker
            # may be read when it is gone already.
            if wait <= 0 and kills < KILLS and holding & alive:
                killed = draw.choice(sorted(holding & alive))
                holding.remove(killed)
                os.kill(killed, signal.SIGKILL)
                kills, wait = kills + 1, draw.randrange(10)
        for pid in sorted(alive):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                alive.remove(pid)
            if ended and os.WIFSIGNALED(status):
                alive.add(spawn(url, out))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
