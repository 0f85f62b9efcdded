"""Kills the processes of a service's local gangs, every so many seconds, until it is ended.

    python3 kill_workers.py http://127.0.0.1:8000 SECONDS
"""
import json
import os
import signal
import sys
import time
import urllib.request


def main():
    url, seconds = sys.argv[1], float(sys.argv[2])
    killed = 0
    while True:
        time.sleep(seconds)
        try:
            with urllib.request.urlopen(url + "/v1/cluster", timeout=30) as answer:
                gangs = json.load(answer)["gangs"]
        except OSError:
            continue
        for gang in gangs:
            if gang["state"] == "busy":
                try:
                    os.kill(gang["pid"], signal.SIGKILL)
                except ProcessLookupError:
                    continue
                killed += 1
                print(f"{killed} workers killed", flush=True)


if __name__ == "__main__":
    main()
