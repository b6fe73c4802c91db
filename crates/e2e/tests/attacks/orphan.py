"""Starts what would outlive the session, and asks the system to start it again."""

import json
import os
import signal
import subprocess
import sys

MARK = sys.argv[1]


def tell(what, won, detail=""):
    print(json.dumps({"id": "a49", "what": what, "won": bool(won), "detail": str(detail)}), flush=True)


for path in ("/etc/cron.d/a49", "/var/spool/cron/agent", "/etc/systemd/system/a49.service",
             "/etc/rc.local", "/var/spool/at/a49"):
    try:
        open(path, "w")
    except OSError as error:
        tell(path, False, error)
    else:
        tell(path, True)
for program in ("crontab", "at", "systemd-run", "systemctl"):
    try:
        done = subprocess.run([program, "-"], input=b"@reboot true\n", capture_output=True)
    except OSError as error:
        tell(program, False, error)
    else:
        tell(program, done.returncode == 0, done.stderr[:100])

ready, told = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        os.write(told, b"x")
        os.close(told)
        os.closerange(0, 3)
        os.execv("/bin/sleep", [MARK, "600"])
    os._exit(0)
os.read(ready, 1)
tell("daemon", False, "started")
