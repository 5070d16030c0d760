#!/usr/bin/env python3
"""An example of a program for `type = "exec"`: keeps records in a JSON file, and writes them only if they are as expected.

usage: exec-example.py FILE, with one question of Quorate on standard input

Put your own store in the place of the file: read, compare and write must be one transaction there. A question says for which
service it is asked (`service`), for programs that serve several; this one only writes it down.
"""

import fcntl
import json
import os
import sys


def change(path, question):
    """Answers a question; the lock makes reading, comparing and writing one step. `None`: what stands was not expected."""
    with open(path + ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            with open(path) as file:
                records = json.load(file)
        except FileNotFoundError:
            records = {}
        record = question["record"]
        key = f"{record['name']} {record['type']}"
        standing = records.get(key, {"values": [], "ttl": None, "fence": None})
        if question["call"] == "read":
            return standing
        expected = question["expected"]
        if sorted(standing["values"]) != sorted(expected["values"]) or standing["fence"] != expected["fence"]:
            return None
        records[key] = {name: question[name] for name in ("service", "values", "ttl", "fence")}
        with open(path + ".new", "w") as file:
            json.dump(records, file)
            file.flush()
            os.fsync(file.fileno())
        os.rename(path + ".new", path)
        return {"receipt": f"epoch {question['epoch']} of {question['service']} in {question['cluster']} is in {path}"}


if __name__ == "__main__":
    answer = change(sys.argv[1], json.load(sys.stdin))
    if answer is None:
        print("what stands is not what was expected", file=sys.stderr)
        sys.exit(65)
    json.dump(answer, sys.stdout)
