"""What a standalone gateway's start costs with many records, and a call's processor time, for two versions in turn.

usage: starts.py --before DIR --after DIR [--records N] [--rounds N] [--calls N]

Each DIR holds proofroom and proofroom-cassette. One call makes a record; its copies with other runs and places
(nothing that a start verifies has a signature) become record files of 64 MiB, as versions before the index wrote them.
The later version opens them first: it reads them all, and adds their leaves to the log. Then both start in turn.
Prints one JSON line. Python's standard library alone.
"""

import argparse
import base64
import hashlib
import http.client
import json
import os
import shutil
import signal
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "soak"))
import soak

FILE_BYTES = 64 << 20


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--before", required=True)
    parser.add_argument("--after", required=True)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calls", type=int, default=2_000)
    return parser.parse_args()


def call(gateway, key, times):
    host, port = gateway.said["listening"].rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    body = json.dumps({"model": "cassette-standard", "messages": [{"role": "user", "content": "x" * 1024}]})
    for _ in range(times):
        connection.request("POST", "/v1/chat/completions", body,
                           {"authorization": f"Bearer {key}", "content-type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise SystemExit(f"a call was answered {answer.status}")
    connection.close()


def line(kind, session, body):
    return b"%s %s sha256:%s %s\n" % (kind, session, hashlib.sha256(body).hexdigest().encode(), body)


def copies(record, count):
    """Lines of `count` runs like the one of `record`."""
    kind, session, _, body = record.split(b" ", 3)
    envelope = json.loads(body)
    statement = json.loads(base64.b64decode(envelope["payload"]))
    run = statement["predicate"]
    first = run["sequence"]
    for number in range(count):
        run["sequence"] = first + 1 + number
        run["run"] = "run_" + hashlib.sha256(b"%d" % number).hexdigest()[:32]
        envelope["payload"] = base64.b64encode(json.dumps(statement, separators=(",", ":")).encode()).decode()
        yield line(kind, session, json.dumps(envelope, separators=(",", ":")).encode())


def multiply(state, count):
    """Makes `count` records of the one that is there; the log is made anew by the next start."""
    folder = os.path.join(state, "records")
    [name] = os.listdir(folder)
    with open(os.path.join(folder, name), "rb") as file:
        lines = [found.rstrip(b"\n") for found in file]
    record = next(found for found in lines if found.startswith(b"model-run "))
    records = sum(found.split(b" ", 1)[0] in (b"model-run", b"gateway-account") for found in lines)
    file = open(os.path.join(folder, name), "ab")
    for copy in copies(record, count - records):
        if file.tell() >= FILE_BYTES:
            file.close()
            file = open(os.path.join(folder, f"{records:020}"), "wb")
        file.write(copy)
        records += 1
    file.close()
    shutil.rmtree(os.path.join(state, "log"))
    shutil.rmtree(os.path.join(state, "index"), ignore_errors=True)


def usage(process):
    with open(f"/proc/{process.process.pid}/io") as file:
        io = dict(row.split(": ") for row in file.read().splitlines())
    with open(f"/proc/{process.process.pid}/stat") as file:
        fields = file.read().rsplit(") ", 1)[1].split()
    seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return {"read_mb": round(int(io["rchar"]) / 1e6, 1), "cpu": seconds, "calls": int(io["syscr"]) + int(io["syscw"])}


def started(program, deployment):
    begin = time.monotonic()
    gateway = soak.Process([program, "gateway", "serve", "--config", deployment.config], deployment.log)
    found = {"seconds": round(time.monotonic() - begin, 2), **usage(gateway), "resident_mb": gateway.resident() >> 20}
    return gateway, found


def per_call(gateway, key, calls):
    call(gateway, key, calls // 10)
    before = usage(gateway)
    call(gateway, key, calls)
    after = usage(gateway)
    return {"cpu_us": round((after["cpu"] - before["cpu"]) / calls * 1e6),
            "reads_and_writes": round((after["calls"] - before["calls"]) / calls, 2)}


def main():
    options = arguments()
    programs = {name: os.path.join(getattr(options, name), "proofroom") for name in ("before", "after")}
    result = {"records": options.records, "first": None, "before": [], "after": []}
    with tempfile.TemporaryDirectory(prefix="proofroom-starts-") as folder:
        deployment = soak.Deployment(options.before, folder, "strict")
        call(deployment.gateway, deployment.key, 1)
        deployment.gateway.end(signal.SIGTERM)
        multiply(deployment.state, options.records)
        gateway, result["first"] = started(programs["after"], deployment)
        gateway.end(signal.SIGTERM)
        for _ in range(options.rounds):
            for name in ("before", "after"):
                gateway, found = started(programs[name], deployment)
                found["call"] = per_call(gateway, deployment.key, options.calls)
                gateway.end(signal.SIGTERM)
                result[name].append(found)
        deployment.upstream.end(signal.SIGKILL)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
