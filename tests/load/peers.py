"""Other gateways beside ours, in the same run of the load bench.

usage: peers.py --bench PROGRAM [--litellm PROGRAM] [--tensorzero PYTHON] [--noveum PROGRAM] [--cells NAMES]

PROGRAM of `--bench` is what `cargo bench -p proofroom-gateway --bench load --no-run` names. `--litellm` is the program
`litellm` of an environment with `litellm[proxy]`, `--tensorzero` the Python of one with `tensorzero`, `--noveum` the
program that `cargo install noveum-ai-gateway` makes, which is a proxy and little more. Each peer gets one
process on processor 1, where the bench has ours, sends to the bench's upstream at 127.0.0.1:9100, and asks for
no key and keeps no prompts; the bench measures it in blocks between those of ours. Python's standard library alone.
"""

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time

UPSTREAM = "127.0.0.1:9100"
MODELS = ["whole", "burst", "paced"]
CPU = "1"

LITELLM = """model_list:
%s
litellm_settings: { telemetry: false, drop_params: false }
"""
LITELLM_MODEL = '  - { model_name: %s, litellm_params: { model: "openai/%s", api_base: "http://%s/v1", api_key: "none" } }'

TENSORZERO = """[gateway]
observability.enabled = false
disable_pseudonymous_usage_analytics = true
"""
TENSORZERO_MODEL = """[models.%s]
routing = ["bench"]
[models.%s.providers.bench]
type = "openai"
model_name = "%s"
api_base = "http://%s/v1/"
api_key_location = "none"
"""
TENSORZERO_PROGRAM = """import sys, time, tensorzero
gateway = tensorzero._start_http_gateway(
    config_file=sys.argv[1], clickhouse_url=None, postgres_url=None, valkey_url=None, async_setup=False)
print(gateway.base_url, flush=True)
time.sleep(1e9)
"""


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def waits_for(port, process):
    for _ in range(600):
        if process.poll() is not None:
            raise SystemExit(f"a peer ended with {process.returncode} before it listened")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.2)
    raise SystemExit("a peer does not listen after two minutes")


def started(command, **more):
    return subprocess.Popen(["taskset", "-c", CPU, *command], stderr=subprocess.DEVNULL, start_new_session=True, **more)


def litellm(program, folder):
    config, port = os.path.join(folder, "litellm.yaml"), free_port()
    with open(config, "w") as file:
        file.write(LITELLM % "\n".join(LITELLM_MODEL % (model, model, UPSTREAM) for model in MODELS))
    process = started(
        [program, "--config", config, "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"],
        stdout=subprocess.DEVNULL, env={
            **os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR",
            # on loopback, for the time of the bench
            "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
        })
    waits_for(port, process)
    return process, f"litellm=127.0.0.1:{port}"


def tensorzero(python, folder):
    config = os.path.join(folder, "tensorzero.toml")
    with open(config, "w") as file:
        file.write(TENSORZERO + "".join(TENSORZERO_MODEL % (model, model, model, UPSTREAM) for model in MODELS))
    process = started([python, "-c", TENSORZERO_PROGRAM, config], stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if line.startswith("http://"):
            return process, f"tensorzero={line.strip().removeprefix('http://')}#tensorzero::model_name::"
    raise SystemExit("tensorzero does not start")


def noveum(program, _folder):
    port = free_port()
    process = started([program], stdout=subprocess.DEVNULL, env={
        **os.environ, "OPENAI_BASE_URL": f"http://{UPSTREAM}", "HOST": "127.0.0.1", "PORT": str(port),
        "WORKER_THREADS": "1", "RUST_LOG": "off",
    })
    waits_for(port, process)
    return process, f"noveum=127.0.0.1:{port}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bench", required=True)
    parser.add_argument("--litellm")
    parser.add_argument("--tensorzero")
    parser.add_argument("--noveum")
    parser.add_argument("--cells", default="1k-c1,1k-c32,64k-c8,burst-c1")
    options = parser.parse_args()
    running = []
    with tempfile.TemporaryDirectory(prefix="proofroom-peers-") as folder:
        try:
            for program, start in [
                (options.litellm, litellm), (options.tensorzero, tensorzero), (options.noveum, noveum),
            ]:
                if program:
                    running.append(start(program, folder))
            peers = " ".join(f"{place}@{process.pid}" for process, place in running)
            environment = {
                **os.environ, "PROOFROOM_LOAD_UPSTREAM": UPSTREAM, "PROOFROOM_LOAD_PEERS": peers,
                "PROOFROOM_LOAD_CELLS": options.cells,
            }
            return subprocess.run([options.bench], env=environment).returncode
        finally:
            for process, _ in running:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


if __name__ == "__main__":
    sys.exit(main())
