"""Many streams at once through a standalone gateway: that each is held to its end, and what they take of memory.

usage: streams.py --programs DIR [--streams N] [--seconds N] [--every N] [--log strict|prompt] [--h2load PROGRAM]

DIR holds proofroom and proofroom-cassette. Starts a gateway before an upstream of its own, opens N streams, one connection
each, sends an event on each every `--every` seconds for `--seconds`, then ends them all. Each must have begun before the first
one ended, have every event, and name a record that says `complete`. Prints one JSON line: resident memory of the gateway at
rest, while all streams are open and afterwards, and how long opening and ending took. Exit 1 when a stream was not held.
Needs twice N file descriptors for the gateway (`prlimit --nofile`). With `--h2load` (of nghttp2) the clients are that
program, 64 streams on each of its HTTP/2 connections, which takes half as many: each of its answers must be whole and each
record `complete`, events are not counted. Else Python's standard library alone.
"""

import argparse
import asyncio
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "soak"))
import soak

# a session's runs at once; each key has a session of its own
RUNS_OF_A_KEY = 64
OPENING_AT_ONCE = 64

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def event(text, finish=None):
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "cassette-standard",
             "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}
    return chunked(f"data: {json.dumps(chunk)}\n\n".encode())


def chunked(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


LAST = event("", "stop") + chunked(b"data: [DONE]\n\n") + b"0\r\n\r\n"


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--programs", required=True, help="directory with proofroom and proofroom-cassette")
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=20, help="for how long all are open")
    parser.add_argument("--every", type=float, default=1, help="seconds between events of a stream; below 60")
    parser.add_argument("--log", choices=["strict", "prompt"], default="strict", help="when records are on disk")
    parser.add_argument("--h2load", help="the program whose HTTP/2 streams the clients' are")
    return parser.parse_args()


class Upstream:
    """Begins each answer at once, and ends it when it is told to."""

    def __init__(self):
        self.open, self.ending = [], asyncio.Event()

    async def start(self):
        self.server = await asyncio.start_server(self.answer, "127.0.0.1", 0, backlog=4096)
        return "%s:%d" % self.server.sockets[0].getsockname()[:2]

    async def answer(self, reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.split(b":")[1]))
        writer.write(HEAD + event("a"))
        self.open.append(writer)
        await self.ending.wait()
        writer.write(LAST)
        await writer.drain()
        writer.close()

    async def speak(self, seconds, every):
        """An event on each stream, spread over the time between two."""
        sent, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            begin = time.monotonic()
            for place, writer in enumerate(self.open):
                writer.write(event("b"))
                if place % 100 == 99:
                    await asyncio.sleep(0)
            sent += 1
            await asyncio.sleep(max(0.0, min(every - (time.monotonic() - begin), end - time.monotonic())))
        return sent


BODY = json.dumps({"model": "cassette-standard", "stream": True,
                   "messages": [{"role": "user", "content": "x" * 1024}]}).encode()


class Stream:
    def __init__(self, address, key):
        self.address, self.key = address, key
        self.answer = b""

    async def begin(self):
        host, port = self.address.rsplit(":", 1)
        self.reader, self.writer = await asyncio.open_connection(host, int(port))
        head = (f"POST /v1/chat/completions HTTP/1.1\r\nhost: {self.address}\r\nauthorization: Bearer {self.key}\r\n"
                f"content-type: application/json\r\nte: trailers\r\ncontent-length: {len(BODY)}\r\n\r\n")
        self.writer.write(head.encode() + BODY)
        while b'"a"' not in self.answer:
            await self.more()

    async def more(self):
        got = await asyncio.wait_for(self.reader.read(65536), 120)
        if not got:
            raise ConnectionError(f"closed after {self.answer[-200:]!r}")
        self.answer += got

    async def end(self):
        while not self.answer.endswith(b"\r\n\r\n") or b"x-proofroom-status:" not in self.answer:
            await self.more()
        self.writer.close()

    def is_whole(self, events):
        return (b"x-proofroom-status: complete" in self.answer and b"[DONE]" in self.answer
                and self.answer.count(b'"content": "b"') == events)


class Connections:
    """A stream on each connection."""

    def __init__(self, options, gateway, keys, folder):
        address = gateway.said["listening"]
        self.streams = [Stream(address, keys[number // RUNS_OF_A_KEY]) for number in range(options.streams)]

    async def open(self, upstream):
        places = asyncio.Semaphore(OPENING_AT_ONCE)

        async def opened(stream):
            async with places:
                await stream.begin()

        found = await asyncio.gather(*map(opened, self.streams), return_exceptions=True)
        self.failed = [error for error in found if error is not None]
        self.readers = [asyncio.create_task(stream.end()) for stream, error in zip(self.streams, found) if error is None]

    async def end(self, events):
        """How many were whole."""
        ended = await asyncio.gather(*self.readers, return_exceptions=True)
        self.failed += [error for error in ended if error is not None]
        return sum(stream.is_whole(events) for stream in self.streams)

    def said(self):
        return {"failed": sorted({repr(error) for error in self.failed})[:5]}


class SharedConnections:
    """`RUNS_OF_A_KEY` streams on each connection, by h2load."""

    def __init__(self, options, gateway, keys, folder):
        self.program, self.streams, self.keys = options.h2load, options.streams, keys
        self.url = f"http://{gateway.said['listening']}/v1/chat/completions"
        self.body = os.path.join(folder, "body.json")
        with open(self.body, "wb") as file:
            file.write(BODY)

    async def connection(self, key, streams):
        """How many of so many streams came to their end."""
        client = await asyncio.create_subprocess_exec(
            self.program, "-n", str(streams), "-c", "1", "-m", str(streams), "-d", self.body, "-H",
            f"authorization: Bearer {key}", "-H", "content-type: application/json", self.url,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        said, _ = await client.communicate()
        found = re.search(rb"status codes: (\d+) 2xx", said), re.search(rb" (\d+) succeeded", said)
        return min(int(count[1]) if count else 0 for count in found)

    async def open(self, upstream):
        shares = [min(RUNS_OF_A_KEY, self.streams - place) for place in range(0, self.streams, RUNS_OF_A_KEY)]
        self.clients = [asyncio.create_task(self.connection(*of)) for of in zip(self.keys, shares)]
        patience = time.monotonic() + 300
        while len(upstream.open) < self.streams and time.monotonic() < patience:
            await asyncio.sleep(0.05)

    async def end(self, events):
        return sum(await asyncio.gather(*self.clients))

    def said(self):
        return {"connections": len(self.clients)}


async def measured(options, gateway, upstream, clients):
    result = {"streams": options.streams, "log": options.log, "resident_mib": {"rest": gateway.resident() >> 20}}
    begin = time.monotonic()
    await clients.open(upstream)
    result["opening_s"] = round(time.monotonic() - begin, 1)
    result["open"] = len(upstream.open)
    events = await upstream.speak(options.seconds, options.every)
    result["events_of_each"] = events
    result["resident_mib"]["open"] = gateway.resident() >> 20
    begin = time.monotonic()
    upstream.ending.set()
    result["whole"] = await clients.end(events)
    result["ending_s"] = round(time.monotonic() - begin, 1)
    result["resident_mib"]["after"] = gateway.resident() >> 20
    return result | clients.said()


def complete(state):
    """How many records say that a stream came to its end."""
    records = [soak.predicate(body) for kind, _, body in soak.lines(state) if kind == "model-run"]
    return sum(record["status"] == "complete" for record in records)


async def run(options, folder):
    upstream = Upstream()
    address = await upstream.start()
    deployment = soak.Deployment(options.programs, folder, options.log)
    deployment.gateway.end(signal.SIGTERM)
    deployment.upstream.end(signal.SIGKILL)
    with open(os.path.join(folder, "policy", "upstreams.toml"), "w") as file:
        file.write(soak.UPSTREAMS % address)
    create = [deployment.program, "gateway", "key", "create", "--config", deployment.config, "--team", "load", "--user"]
    count = -(-options.streams // RUNS_OF_A_KEY)
    keys = [subprocess.run(create + [f"user-{number}"], check=True, capture_output=True, text=True).stdout.strip()
            for number in range(count)]
    gateway = soak.Process([deployment.program, "gateway", "serve", "--config", deployment.config], deployment.log)
    kind = SharedConnections if options.h2load else Connections
    result = await measured(options, gateway, upstream, kind(options, gateway, keys, folder))
    result["stopped"] = gateway.end(signal.SIGTERM)
    result["complete"] = complete(deployment.state)
    return result


def main():
    options = arguments()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    need = (1 if options.h2load else 2) * options.streams + 200
    if most < need:
        raise SystemExit(f"{options.streams} streams need {need} file descriptors, and {most} are allowed")
    with tempfile.TemporaryDirectory(prefix="proofroom-streams-") as folder:
        result = asyncio.run(run(options, folder))
    print(json.dumps(result))
    whole = result["whole"] == result["complete"] == options.streams
    return 0 if whole and result["stopped"] == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
