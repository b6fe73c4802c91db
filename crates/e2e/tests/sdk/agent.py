"""A small coding agent on the official OpenAI SDK, with hands of its own: it reads, edits and runs
in the room as any program does, and knows nothing of Proofroom but the addresses in its
environment. Usage: agent.py TASK."""

import json
import pathlib
import subprocess
import sys

import openai

WORKSPACE = pathlib.Path("/workspace")


def read_file(path):
    return {"content": (WORKSPACE / path).read_text(encoding="utf-8")}


def edit(path, old, new):
    file = WORKSPACE / path
    text = file.read_text(encoding="utf-8")
    if text.count(old) != 1:
        raise ValueError(f"`old` is there {text.count(old)} times")
    file.write_text(text.replace(old, new), encoding="utf-8")
    return {"changed": path}


def run(argv, timeout_s=60):
    done = subprocess.run(
        argv, cwd=WORKSPACE, timeout=timeout_s, capture_output=True, text=True, check=False
    )
    return {"exit": done.returncode, "output": done.stdout + done.stderr}


def git_commit(message):
    git = ["git", "-c", "user.name=Guest", "-c", "user.email=guest@example.org"]
    subprocess.run([*git, "commit", "-q", "-a", "-m", message], cwd=WORKSPACE, check=True)
    return {"commit": run(["git", "rev-parse", "HEAD"])["output"].strip()}


def finish(summary, success):
    print(summary, flush=True)
    sys.exit(0 if success else 1)


TOOLS = {
    read_file: {"path": "string"},
    edit: {"path": "string", "old": "string", "new": "string"},
    run: {"argv": "array", "timeout_s": "integer"},
    git_commit: {"message": "string"},
    finish: {"summary": "string", "success": "boolean"},
}


def described(tool, parameters):
    """One tool as the API wants it."""
    properties = {
        name: {"type": kind, **({"items": {"type": "string"}} if kind == "array" else {})}
        for name, kind in parameters.items()
    }
    return {
        "type": "function",
        "function": {
            "name": tool.__name__,
            "parameters": {"type": "object", "properties": properties},
        },
    }


def called(call):
    """The result of one call; what goes wrong is the model's to read."""
    tool = next((tool for tool in TOOLS if tool.__name__ == call.function.name), None)
    try:
        result = tool(**json.loads(call.function.arguments))
    except (OSError, TypeError, ValueError, subprocess.SubprocessError) as error:
        result = {"error": str(error)}
    return {"role": "tool", "tool_call_id": call.id, "content": json.dumps(result)}


def main(task):
    client = openai.OpenAI()
    messages = [
        {"role": "system", "content": "You repair programs. Work in small steps."},
        {"role": "user", "content": task},
    ]
    tools = [described(*tool) for tool in TOOLS.items()]
    for _ in range(30):
        answer = client.chat.completions.create(model="default", messages=messages, tools=tools)
        message = answer.choices[0].message
        messages.append(message.model_dump(exclude_none=True))
        messages += [called(call) for call in message.tool_calls or []]
    raise SystemExit("the model did not come to an end")


main(sys.argv[1])
