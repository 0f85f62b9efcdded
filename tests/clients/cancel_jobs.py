"""Cancels every job that waits, five times a second, until it is ended: a service without a gang
whose jobs come to an end, so that streams of events and video do too.

    python3 cancel_jobs.py http://127.0.0.1:8000
"""
import json
import sys
import time
import urllib.request


def ask(url, method):
    with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=60) as answer:
        return json.load(answer)


def main():
    url = sys.argv[1] + "/v1/videos"
    while True:
        time.sleep(0.2)
        try:
            for job in ask(url + "?limit=100", "GET")["data"]:
                if job["status"] == "queued":
                    ask(f"{url}/{job['id']}/cancel", "POST")
        except OSError:  # refused (another was faster), or not there at the moment
            continue


if __name__ == "__main__":
    main()
