"""What a call waits for under each log mode of a standalone gateway, in turn with the bare upstream.

usage: modes.py --programs DIR [--calls N] [--rounds N] [--state DIR]

DIR holds proofroom and proofroom-cassette. One caller, 1 KiB, whole answers over one kept connection, records on a
real disk: `--state` is on it (the system's folder for temporary files may be memory). Blocks of N calls of the bare
upstream, a `strict` and a `prompt` gateway in turn. Prints one JSON line: p50 and p99 of each in microseconds, medians of
the rounds. Python's own part of a call is in all three. Python's standard library alone.
"""

import argparse
import http.client
import json
import os
import signal
import statistics
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "soak"))
import soak

MODES = ("strict", "prompt")
BODY = json.dumps({"model": "cassette-standard", "messages": [{"role": "user", "content": "x" * 1024}]})


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--programs", required=True, help="directory with proofroom and proofroom-cassette")
    parser.add_argument("--calls", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--state", help="directory under which the gateways keep their records")
    return parser.parse_args()


class Caller:
    def __init__(self, address, key):
        host, port = address.rsplit(":", 1)
        self.connection = http.client.HTTPConnection(host, int(port), timeout=60)
        self.headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {})

    def call(self):
        begin = time.perf_counter()
        self.connection.request("POST", "/v1/chat/completions", BODY, self.headers)
        answer = self.connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise SystemExit(f"a call was answered {answer.status}")
        return (time.perf_counter() - begin) * 1e6

    def block(self, calls):
        times = sorted(self.call() for _ in range(calls))
        return times[len(times) // 2], times[len(times) * 99 // 100]


def main():
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="proofroom-modes-", dir=options.state) as folder:
        folders = {mode: os.path.join(folder, mode) for mode in MODES}
        for place in folders.values():
            os.mkdir(place)
        deployments = {mode: soak.Deployment(options.programs, place, mode) for mode, place in folders.items()}
        callers = {"bare": Caller(deployments["strict"].upstream.said["address"], None)}
        callers |= {mode: Caller(one.gateway.said["listening"], one.key) for mode, one in deployments.items()}
        found = {name: [] for name in callers}
        for caller in callers.values():
            caller.block(options.calls)
        for _ in range(options.rounds):
            for name, caller in callers.items():
                found[name].append(caller.block(options.calls))
        for one in deployments.values():
            one.gateway.end(signal.SIGTERM)
            one.upstream.end(signal.SIGKILL)
    result = {name: {"p50_us": round(statistics.median(p50 for p50, _ in blocks)),
                     "p99_us": round(statistics.median(p99 for _, p99 in blocks))} for name, blocks in found.items()}
    print(json.dumps({"calls": options.calls, "rounds": options.rounds} | result))


if __name__ == "__main__":
    main()
