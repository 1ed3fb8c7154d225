"""A server and workers that are killed at random: service_storm.py URL SEED WORKERS KILLS PORT.

One process loads the library and forks the server and the workers. The workers share nothing with
it but a pipe, to which they write a line per event; after so many lines, drawn from the seed, a
worker or the server is killed with SIGKILL and another one started, until no trial is open.
"""

import os
import random
import select
import signal
import sys
from concurrent.futures import ThreadPoolExecutor

import uvicorn

from mixopt.errors import LeaseError
from mixopt.service.application import create_app
from mixopt.service.client import connect
from mixopt.service.guards import Limits
from mixopt.space import Observation
from mixopt.study import State, Storage

STUDY = "demo"
LEASE = 4.0
#: One kill in so many is of the server.
SERVER_SHARE = 5


def loss(trial, tokens):
    """A value that any attempt of a trial measures alike."""
    return int(trial.removeprefix("t")) + 1 / tokens


def rungs_of(whole):
    return (whole // 4, whole // 2, whole)


def serve(url, port):
    limits = Limits(rate=1e6, burst=1e6)
    app = create_app(url, limits=limits, executor=ThreadPoolExecutor(1))
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error")


def work(port, name, out):
    def note(*words):
        # One write of a short line: those of two processes never mix.
        os.write(out, (" ".join(map(str, words)) + "\n").encode())

    study = connect(f"http://127.0.0.1:{port}", patience=600).study(STUDY)
    while True:
        found = study.ask(1, worker=name, lease_seconds=LEASE)
        if not found:
            if study.stop_reason is not None:
                return
            select.select([], [], [], 0.2)
            continue
        (trial,) = found
        lease = study.lease_of(trial.id)
        note("take", trial.id, lease)
        try:
            *early, last = rungs_of(trial.fidelity.tokens)
            for tokens in early:
                study.record(trial.id, [_rung(trial, tokens)])
            study.tell(trial.id, [_rung(trial, last)])
        except LeaseError:
            note("lost", trial.id, lease)
        else:
            note("told", trial.id, lease)


def _rung(trial, tokens):
    value = loss(trial.id, tokens)
    return Observation(trial=trial.id, tokens=tokens, metric="loss", value=value)


def spawn(out, job, *given):
    pid = os.fork()
    if pid:
        return pid
    try:
        job(*given)
        os._exit(0)
    except BaseException as problem:
        os.write(out, f"problem {' '.join(repr(problem).split())}\n".encode())
        os._exit(1)


def main(url, seed, workers, kills, port):
    draw = random.Random(seed)
    lines, out = os.pipe()
    server = spawn(out, serve, url, port)
    alive = {spawn(out, work, port, f"w{k}", out) for k in range(workers)}
    done, wait = 0, 20
    while alive or select.select([lines], [], [], 0)[0]:
        if select.select([lines], [], [], 0.05)[0]:
            text = os.read(lines, 1 << 16)
            sys.stdout.buffer.write(text)
            # The workers' own progress is the clock, so a slow machine is only slower.
            wait -= text.count(b"\n")
            if wait <= 0 and done < kills and alive:
                done, wait = done + 1, draw.randrange(2, 20)
                if done % SERVER_SHARE == 0:
                    os.kill(server, signal.SIGKILL)
                    os.waitpid(server, 0)
                    server = spawn(out, serve, url, port)
                else:
                    os.kill(draw.choice(sorted(alive)), signal.SIGKILL)
        for pid in sorted(alive):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                alive.remove(pid)
            if ended and os.WIFSIGNALED(status):
                alive.add(spawn(out, work, port, f"w{ended}", out))
    os.kill(server, signal.SIGKILL)
    os.waitpid(server, 0)
    print("kills", done)


def check(url, names, lines, kills):
    """What must hold after a storm; returns its figures."""
    assert [line for line in lines if line[0] == "problem"] == []
    store = Storage(url)
    number = store.require_study(STUDY).id
    records = store.trials(number)
    # None lost and none stuck: each is finished, with all of its rungs, once.
    assert [(r.trial.id, r.state) for r in records] == [(n, State.finished) for n in names]
    rows = {(o.trial, o.tokens): o.value for o in store.observations(number)}
    store.close()
    whole = records[0].trial.fidelity.tokens
    assert rows == {(n, t): loss(n, t) for n in names for t in rungs_of(whole)}
    # None handed out twice: each lease was given once.
    taken = [(trial, lease) for what, trial, lease in lines if what == "take"]
    assert len(taken) == len(set(taken))
    # A lease that ended on a slow machine is given again, and the same results are accepted again.
    told = {(trial, lease) for what, trial, lease in lines if what == "told"}
    assert told <= set(taken)
    # A worker that is killed between its tell and its line is the only one that says nothing.
    assert len(names) - len({trial for trial, _ in told}) <= kills
    return {
        "trials": len(names),
        "taken": len(taken),
        "told": len(told),
        "lost": sum(line[0] == "lost" for line in lines),
        "attempts": sum(r.attempts for r in records),
    }


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
