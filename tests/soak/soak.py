"""A standalone gateway under load and faults, and the account of every run afterwards.

usage: soak.py --programs DIR [--seconds N] [--every N] [--quiet N] [--clients N] [--log strict|prompt]

Starts two cassette upstreams and a gateway, sends requests from many clients (whole answers, streams, and clients
that leave), and meanwhile kills the gateway (SIGKILL) and starts it again, stops an upstream and starts it
again, fills the disk (a limit on file sizes), and sets the gateway's clock forward and back (libfaketime; the
gateway is also killed and started again while its clock is wrong). At the end the gateway is loaded for a while without faults, stopped in order, and then:

- every answer that came to its end names a record that is in the record files, with its digest (no acknowledged record lost);
- of every session each place has a record or is named missing in the last account (every run accounted for);
- in the second half of the while without faults the gateway's resident memory stays within 8 MiB of what it was in the middle, however many
  records were kept meanwhile: the highest of its samples counts. (An index in memory of every record would take some 200 bytes a record.)
- a start after a kill takes no more processor time at the end than at the beginning: the median of the last third is below twice that of the first
  third, plus 2 s. Where there were fewer than six kills this says nothing.

Without libfaketime (Debian: `faketime`) the clock is left alone and the report's `faults` say `"clock": null`.

An hour: `--seconds 3300 --every 20 --quiet 300`.

Exit 0 when all of it holds; 1 otherwise, with what does not. Python's standard library alone.
"""

import argparse
import base64
import datetime
import hashlib
import http.client
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--programs", required=True, help="directory with proofroom and proofroom-cassette")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--every", type=float, help="seconds between faults; 2 or an eighth of all, if that is less")
    parser.add_argument("--quiet", type=float, help="seconds without faults at the end; 5 or a quarter, if that is less")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--log", choices=["strict", "prompt"], default="strict", help="when records are on disk")
    options = parser.parse_args()
    if options.every is None:
        options.every = min(2.0, max(0.1, options.seconds / 8))
    if options.quiet is None:
        options.quiet = min(5.0, options.seconds / 4)
    return options


class Clock:
    """The wall clock of the processes that are given its environment. Their monotonic one goes on as ever."""

    # seconds beside the machine's, one after the other: forward, back, into another month, and right again
    OFFSETS = [3600, -7200, 40 * 86400, 0]

    def __init__(self, folder):
        self.file = os.path.join(folder, "clock")
        self.turn = 0
        found = [path for path in LIBFAKETIME if os.path.exists(path)]
        self.environment = {
            "LD_PRELOAD": found[0],
            "FAKETIME_TIMESTAMP_FILE": self.file,
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        } if found else None
        self.set(0)

    def set(self, seconds):
        with open(self.file + ".new", "w") as file:
            file.write(f"{seconds:+d}")
        os.replace(self.file + ".new", self.file)

    def jump(self):
        self.set(self.OFFSETS[self.turn % len(self.OFFSETS)])
        self.turn += 1


LIBFAKETIME = [f"/usr/lib/{machine}-linux-gnu/faketime/libfaketime.so.1" for machine in ("x86_64", "aarch64")]


class Process:
    """A program that says in one JSON line where it listens."""

    def __init__(self, command, log, environment=None):
        self.command, self.log, self.starts = command, log, []
        self.environment = os.environ | (environment or {})
        self.start()

    def start(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=self.log, env=self.environment)
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"does not start: {' '.join(self.command)}")
        self.said = json.loads(line)
        self.starts.append(self.used())

    def used(self):
        """Seconds of processor time. A busy machine takes none of it away."""
        with open(f"/proc/{self.process.pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self, how):
        self.process.send_signal(how)
        code = self.process.wait(timeout=90)
        self.process.stdout.close()
        return code

    def resident(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            for line in status:
                if line.startswith("VmRSS"):
                    return int(line.split()[1]) * 1024
        return 0


class Deployment:
    def __init__(self, programs, folder, log):
        self.program = os.path.join(programs, "proofroom")
        self.log = open(os.path.join(folder, "stderr"), "ab")
        self.config = os.path.join(folder, "gateway.toml")
        self.state = os.path.join(folder, "state")
        policy = os.path.join(folder, "policy")
        subprocess.run([self.program, "policy", "init", policy], check=True, stdout=subprocess.DEVNULL)
        cassette = os.path.join(ROOT, "crates/testkit/cassettes/hello.json")
        upstream = [os.path.join(programs, "proofroom-cassette"), "--cassette", cassette]
        first = Process(upstream, self.log)
        port = first.said["address"].rsplit(":", 1)[1]
        first.end(signal.SIGKILL)
        self.upstream = Process(upstream + ["--port", port], self.log)
        with open(os.path.join(policy, "upstreams.toml"), "w") as file:
            file.write(UPSTREAMS % self.upstream.said["address"])
        with open(self.config, "w") as file:
            file.write(CONFIG % log)
        self.key = subprocess.run(
            [self.program, "gateway", "key", "create", "--config", self.config, "--user", "soak", "--team", "soak"],
            check=True, capture_output=True, text=True).stdout.strip()
        self.clock = Clock(folder)
        command = [self.program, "gateway", "serve", "--config", self.config]
        self.gateway = Process(command, self.log, self.clock.environment)


CONFIG = """version = 1
state = "state"
policy = "policy"
log = { mode = "%s" }
[listen]
address = "127.0.0.1:0"
"""

UPSTREAMS = """[[upstream]]
name = "soak"
tier = "standard"
base_url = "http://%s"
apis = ["chat", "messages"]
models = ["cassette-standard"]
region = "local"
source = "cassette"
key = { from = "none" }
retention = { mode = "in-memory", contract = "none: recorded answers" }
attestation = { kind = "none" }
"""


class Client(threading.Thread):
    """Asks until it is told to end, and remembers which records answers named."""

    def __init__(self, deployment, number, ending):
        super().__init__(daemon=True)
        self.deployment, self.ending = deployment, ending
        self.random = random.Random(number)
        self.acknowledged, self.statuses = [], {}

    def run(self):
        while not self.ending.is_set():
            try:
                self.once()
            except (OSError, http.client.HTTPException, ValueError):
                self.count("connection")
                time.sleep(0.02)

    def count(self, what):
        self.statuses[what] = self.statuses.get(what, 0) + 1

    def once(self):
        host, port = self.deployment.gateway.said["listening"].rsplit(":", 1)
        connection = http.client.HTTPConnection(host, int(port), timeout=30)
        try:
            stream = self.random.random() < 0.5
            body = json.dumps({
                "model": "cassette-standard", "stream": stream,
                "messages": [{"role": "user", "content": "x" * self.random.randrange(1, 4000)}],
            })
            headers = {"authorization": f"Bearer {self.deployment.key}", "te": "trailers", "content-type": "application/json"}
            connection.request("POST", "/v1/chat/completions", body, headers)
            if self.random.random() < 0.1:
                self.count("left")
                return
            answer = connection.getresponse()
            run = answer.getheader("x-proofroom-run")
            text = answer.read()
            self.count(answer.status if answer.status == 200 else f"{answer.status} {code(text)}")
            # the body came to its end, and with it the word that the record is kept
            if run and answer.status != 503:
                self.acknowledged.append(run)
        finally:
            connection.close()


def code(text):
    """The stable code of an error."""
    try:
        error = json.loads(text)["error"]
    except (ValueError, KeyError, TypeError):
        return "no-error"
    return error.get("code") if isinstance(error, dict) else "no-code"


def faults(deployment, seconds, every):
    """Kills, restarts, full disks and jumps of the clock, in turns, until the time is over."""
    done = {"kill": 0, "full": 0, "upstream": 0, "clock": 0 if deployment.clock.environment else None}
    turns = [kind for kind in ("clock", "kill", "upstream", "full") if done[kind] is not None]
    end, turn = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        time.sleep(every)
        kind = turns[turn % len(turns)]
        turn += 1
        if kind == "upstream":
            deployment.upstream.end(signal.SIGKILL)
            time.sleep(0.3)
            deployment.upstream.start()
        elif kind == "full" and shutil.which("prlimit"):
            subprocess.run(["prlimit", "--pid", str(deployment.gateway.process.pid), "--fsize=1:1"], check=True)
            time.sleep(0.5)
            deployment.gateway.end(signal.SIGKILL)
            deployment.gateway.start()
        elif kind == "kill":
            deployment.gateway.end(signal.SIGKILL)
            deployment.gateway.start()
        elif kind == "clock":
            deployment.clock.jump()
        else:
            continue
        done[kind] += 1
    return done


def lines(state):
    folder = os.path.join(state, "records")
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), "rb") as file:
            for line in file:
                kind, session, digest, body = line.rstrip(b"\n").split(b" ", 3)
                if "sha256:" + hashlib.sha256(body).hexdigest() != digest.decode():
                    raise SystemExit(f"a line of {name} does not have its digest")
                yield kind.decode(), session.decode(), json.loads(body)


def predicate(envelope):
    return json.loads(base64.b64decode(envelope["payload"]))["predicate"]


def judge(deployment, clients):
    """What does not hold."""
    wrong, recorded, places, account, times = [], set(), {}, {}, []
    for kind, session, body in lines(deployment.state):
        if kind == "model-run":
            run = predicate(body)
            recorded.add(run["run"])
            taken = places.setdefault(session, set())
            if run["sequence"] in taken:
                wrong.append(f"place {run['sequence']} of {session} was taken twice")
            taken.add(run["sequence"])
            times.append(seconds(run["started"]))
            if run["finished"] < run["started"]:
                wrong.append(f"{run['run']} finished before it started")
        elif kind == "gateway-account":
            account[session] = predicate(body)
    for client in clients:
        lost = [run for run in client.acknowledged if run not in recorded]
        if lost:
            wrong.append(f"{len(lost)} acknowledged records are lost, such as {lost[0]}")
    for session, taken in places.items():
        last = account.get(session)
        if last is None:
            wrong.append(f"{session} has no account")
            continue
        if taken | set(last["missing"]) != set(range(last["runs"])) or len(taken) != last["recorded"]:
            wrong.append(f"the account of {session} is not that of its records")
    missing = sum(len(last["missing"]) for last in account.values())
    return wrong, len(recorded), missing, max(times) - min(times)


def seconds(time):
    return datetime.datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp()


SAMPLES = 20


def samples(gateway, seconds):
    """Resident bytes, at equal distances."""
    taken = []
    for _ in range(SAMPLES):
        time.sleep(seconds / SAMPLES)
        taken.append(gateway.resident())
    return taken


def grown(resident):
    middle, late = max(resident[:SAMPLES // 2]), max(resident[SAMPLES // 2:])
    if late > middle + (8 << 20):
        yield f"resident memory grew from {middle} to {late} bytes"


def slower(starts):
    third = len(starts) // 3
    if third < 2:
        return
    first, last = statistics.median(starts[:third]), statistics.median(starts[-third:])
    if last > 2 * first + 2:
        yield f"starts grew from {first:.2f} to {last:.2f} s"


def main():
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="proofroom-soak-") as folder:
        deployment = Deployment(options.programs, folder, options.log)
        ending = threading.Event()
        clients = [Client(deployment, number, ending) for number in range(options.clients)]
        for client in clients:
            client.start()
        done = faults(deployment, options.seconds, options.every)
        # a while without faults, in which one process is seen
        resident = samples(deployment.gateway, options.quiet)
        ending.set()
        for client in clients:
            client.join(timeout=60)
        code = deployment.gateway.end(signal.SIGTERM)
        deployment.upstream.end(signal.SIGKILL)
        wrong, records, missing, span = judge(deployment, clients)
        if done["clock"] and span < 3000:
            wrong.append(f"the clock was set and the records' times lie {span:.0f} s apart")
        if code != 0:
            wrong.append(f"the gateway's stop ended with {code}")
        wrong.extend(grown(resident))
        wrong.extend(slower(deployment.gateway.starts))
        statuses = {}
        for client in clients:
            for status, count in client.statuses.items():
                statuses[str(status)] = statuses.get(str(status), 0) + count
        print(json.dumps({
            "seconds": options.seconds, "quiet": options.quiet, "log": options.log, "records": records, "acknowledged": sum(len(c.acknowledged) for c in clients),
            "missing_named": missing, "faults": done, "times_apart": round(span), "statuses": statuses,
            "resident": resident, "starts": [round(start, 2) for start in deployment.gateway.starts], "wrong": wrong,
        }))
        return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
