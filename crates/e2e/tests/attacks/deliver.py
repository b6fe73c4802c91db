"""Leaves in the workspace what must not be delivered, each in its own way."""

import os
import subprocess
import sys

GIT = ["git", "-c", "user.name=agent", "-c", "user.email=agent@example.org"]


def git(*arguments, stdin=None):
    done = subprocess.run([*GIT, *arguments], input=stdin, stdout=subprocess.PIPE, check=True)
    return done.stdout.decode().strip()


def write(path, text):
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "w") as file:
        file.write(text)


def tree(*entries):
    """A tree object whose names git itself would not make."""
    raw = b"".join(
        mode + b" " + name.encode() + b"\0" + bytes.fromhex(oid) for mode, name, oid in entries
    )
    return git("hash-object", "-t", "tree", "-w", "--literally", "--stdin", stdin=raw)


def commit(top):
    made = git("commit-tree", "-p", "HEAD", "-m", "mine", top)
    git("update-ref", "HEAD", made)


def blob(text):
    return git("hash-object", "-w", "--stdin", stdin=text.encode())


def uncommitted():
    write(".github/workflows/ci.yml", "on: push\n")
    write("sub/.vscode/tasks.json", "{}\n")


def variant():
    commit(tree((b"40000", ".GIT", tree((b"100644", "config", blob("[core]\n"))))))


def committed():
    write(".vscode/tasks.json", "{}\n")
    write(".envrc", "touch /tmp/owned\n")
    git("add", "-f", ".vscode/tasks.json", ".envrc")
    git("commit", "-q", "-m", "mine")


def hidden_in_history():
    committed()
    git("rm", "-q", "-r", ".vscode", ".envrc")
    write("harmless.txt", "harmless\n")
    git("add", "harmless.txt")
    git("commit", "-q", "-m", "and away again")


def climbing():
    inner = tree((b"100644", "owned", blob("owned\n")))
    commit(tree((b"40000", "..", inner), (b"120000", "link", blob("/etc/passwd"))))


globals()[sys.argv[1]]()
