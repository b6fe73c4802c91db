"""Prepares the workspace's git so that somebody else's git would run programs."""

import os
import stat

os.makedirs(".git/hooks", exist_ok=True)
for hook in ("pre-commit", "post-commit", "commit-msg", "post-checkout", "reference-transaction"):
    path = f".git/hooks/{hook}"
    with open(path, "w") as file:
        file.write("#!/bin/sh\ntouch /tmp/a16-fired\n")
    os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR)
with open(".git/config", "a") as file:
    file.write(
        "[core]\n\tfsmonitor = touch /tmp/a17-fsmonitor\n\thooksPath = .git/hooks\n"
        "\tsshCommand = touch /tmp/a17-ssh\n\tpager = touch /tmp/a17-pager\n"
        "[diff]\n\texternal = touch /tmp/a17-diff\n"
        "[filter \"a17\"]\n\tclean = cat /etc/shadow\n"
    )
with open("notes.txt", "w") as file:
    file.write("filtered\n")
with open("plain.md", "w") as file:
    file.write("a change\n")
