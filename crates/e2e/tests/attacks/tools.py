"""Attacks through the built-in agent's tools, from a command of the same session, with threads that
change the files meanwhile. What came of each goes to `said.jsonl`, which the session delivers."""

import ctypes
import http.client
import json
import os
import shutil
import threading

libc = ctypes.CDLL(None, use_errno=True)
os.chdir("/workspace")
said = []
channel = http.client.HTTPConnection("127.0.0.1", 8377, timeout=60)


def tell(number, what, won, detail=""):
    said.append({"id": number, "what": what, "won": bool(won), "detail": str(detail)[:500]})


def tool(name, **arguments):
    channel.request("POST", f"/tool/v1/{name}", json.dumps(arguments))
    answer = channel.getresponse()
    return answer.status, json.loads(answer.read())


def refused(number, name, **arguments):
    status, answer = tool(name, **arguments)
    what = f"{name} {arguments.get('path', arguments)!r}"
    tell(number, what, status == 200, answer.get("error", {}).get("code"))


os.symlink("/etc", "a01-out")
os.symlink("/etc/passwd", "a01-file")
refused("a01", "read_file", path="a01-out/passwd")
refused("a01", "read_file", path="a01-file")
refused("a01", "list", path="a01-out")
refused("a01", "write_file", path="a01-file", content="owned")
refused("a01", "edit", path="a01-file", old="root", new="toor")
refused("a01", "read_file", path="/etc/passwd")
refused("a01", "read_file", path="../etc/passwd")
os.unlink("a01-out")
os.unlink("a01-file")

refused("a02", "read_file", path="passwd", cwd="/etc")
refused("a02", "run", argv=["cat", "shadow"], cwd="/etc")
refused("a02", "read_file", path="/workspace/../etc/passwd")

refused("a03", "read_file", path="missing/../../etc/passwd")
os.symlink("nowhere/else", "a03-dangling")
refused("a03", "write_file", path="a03-dangling", content="owned")
refused("a03", "write_file", path="a03-dangling/x", content="owned")
os.unlink("a03-dangling")

for path in (".git/hooks/pre-commit", "deep/er/.git/config", ".gitmodules", ".claude/settings.json",
             ".mcp.json", ".codex/config.toml", "sub/.cursor/rules/x.mdc"):
    refused("a04", "write_file", path=path, content="x")
for path in (".GIT/config", ".git./config", ".git /config", ".g\u200cit/config",
             "\uff0e\uff47\uff49\uff54/config", "GIT~1/config", ".git::$INDEX_ALLOCATION/config",
             "sub\\.git\\config", ".\u212alaude/../.CLAUDE/x", ".ClaudE/settings.json"):
    refused("a05", "write_file", path=path, content="x")
for path in (".vscode/tasks.json", ".envrc", ".github/workflows/ci.yml", ".husky/pre-commit",
             ".devcontainer/devcontainer.json", "sub/.idea/workspace.xml", ".bashrc",
             ".gitlab-ci.yml", "Jenkinsfile"):
    refused("a18", "write_file", path=path, content="x")

# a predictable name with a link planted on it
os.symlink("/tmp/a10-owned", "a10-planted")
os.symlink("/tmp", "a10-directory")
refused("a10", "write_file", path="a10-planted", content="owned")
refused("a10", "write_file", path="a10-directory/a10-owned", content="owned")
tell("a10", "the link was written through", os.path.exists("/tmp/a10-owned"))
os.unlink("a10-planted")
os.unlink("a10-directory")


def race():
    """Swaps a directory and a link to another one, atomically, while tools read and write in it."""
    os.makedirs("a06/reads")
    os.makedirs("a06/writes")
    with open("a06/reads/passwd", "w") as file:
        file.write("mine")
    os.symlink("/etc", "a06/to-etc")
    os.symlink("/tmp", "a06/to-tmp")
    done = threading.Event()
    swaps = 0

    def exchange(one, other):
        if libc.renameat2(-100, one, -100, other, 2) != 0:
            raise OSError(ctypes.get_errno(), "exchange")

    def swap():
        nonlocal swaps
        while swaps < 10_000:
            exchange(b"a06/reads", b"a06/to-etc")
            exchange(b"a06/writes", b"a06/to-tmp")
            swaps += 2
        done.set()

    swapper = threading.Thread(target=swap)
    swapper.start()
    tries = {200: 0, 403: 0, 422: 0}
    wins = 0
    while not done.is_set():
        status, answer = tool("read_file", path="a06/reads/passwd")
        tries[status] += 1
        wins += status == 200 and answer["content"] != "mine"
        status, _ = tool("write_file", path="a06/writes/a06-owned", content="x")
        tries[status] += 1
    swapper.join()
    wins += os.path.exists("/tmp/a06-owned")
    tell("a06", "swap a directory between check and use", wins, f"{swaps} swaps, {tries}")
    tell("a06", "the race was run", tries[200] == 0 or tries[403] == 0, tries)


race()
shutil.rmtree("a06")
with open("said.jsonl", "w") as file:
    for line in said:
        file.write(json.dumps(line) + "\n")
