"""Records the bytes that the `openai` package sends, for tests/unit/coordinator/http/sdk_test.cpp.

    python3 record_openai.py PATH_OF_http_fake_server VIDEO_FILE OUT_FOLDER

Runs the package against the fake server through a relay that keeps every request, and writes one
file a request and manifest.json with the status each was answered with. The fake server counts its
ids from 1, so the bytes mean the same when they are replayed in order against a fresh one.
"""
import json
import pathlib
import socket
import subprocess
import sys
import threading
import warnings

import openai

warnings.filterwarnings("ignore", category=DeprecationWarning)


def read_message(stream):
    """One HTTP message with a Content-Length (or none), as bytes; empty at the end."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = stream.read(1)
        if not byte:
            return b""
        head += byte
    length = 0
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
        assert name.lower() != b"transfer-encoding", "the relay reads plain bodies only"
    return head + stream.read(length)


class Relay:
    def __init__(self, port):
        self.port, self.seen = port, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        server = socket.create_connection(("127.0.0.1", self.port))
        from_client, from_server = client.makefile("rb"), server.makefile("rb")
        while request := read_message(from_client):
            server.sendall(request)
            answer = read_message(from_server)
            self.seen.append((request, int(answer.split(b" ")[1])))
            client.sendall(answer)


def scenario(client):
    ignore = (openai.APIStatusError,)
    videos = client.videos
    calls = [
        ("models-list", lambda: list(client.models.list())),
        ("create-plain", lambda: videos.create(prompt="a red circle, \u00e9t\u00e9", model="demo", seconds="4",
                                               size="1280x720")),
        ("create-extension-fields", lambda: videos.create(
            prompt="a hill", model="demo/few_step",
            extra_body={"seed": 5, "guidance": 1.5, "fuse": "flat", "endless": False, "frames": 20})),
        ("create-nested", lambda: videos.create(prompt="x", extra_body={"extra": {"a": [1, 2], "b": {"c": "d"}}})),
        ("create-file", lambda: videos.create(prompt="x", input_reference=("p.png", b"\x89PNG\r\n\x1a\n--\r\n", "image/png"))),
        ("create-file-id", lambda: videos.create(
            prompt="x", extra_body={"input_reference": {"file_id": "file_1"}})),
        ("create-image-url", lambda: videos.create(
            prompt="x", extra_body={"input_reference": {"image_url": "data:image/png;base64,AA=="}})),
        ("retrieve", lambda: videos.retrieve("video_" + "0" * 31 + "1")),
        ("poll", lambda: videos.poll("video_" + "0" * 31 + "1")),
        ("list", lambda: videos.list(limit=1, order="asc")),
        ("list-after", lambda: videos.list(after="video_" + "0" * 31 + "1", limit=5)),
        ("download", lambda: videos.download_content("video_" + "0" * 31 + "1").read()),
        ("download-thumbnail", lambda: videos.download_content("video_" + "0" * 31 + "1", variant="thumbnail").read()),
        ("remix", lambda: videos.remix("video_" + "0" * 31 + "1", prompt="a lake")),
        ("edit", lambda: videos.edit(prompt="x", video=("v.mp4", b"x"))),
        ("extend", lambda: videos.extend(prompt="x", seconds="4", video=("v.mp4", b"x"))),
        ("create-character", lambda: videos.create_character(name="x", video=("v.mp4", b"x"))),
        ("get-character", lambda: videos.get_character("char_1")),
        ("delete", lambda: videos.delete("video_" + "0" * 31 + "1")),
        ("retrieve-deleted", lambda: videos.retrieve("video_" + "0" * 31 + "1")),
    ]
    for name, call in calls:
        try:
            call()
        except ignore:
            pass
        yield name


def main():
    program, video, out = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
    server = subprocess.Popen([program, video, "0"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    relay = Relay(int(server.stdout.readline().rsplit(":", 1)[1]))
    client = openai.OpenAI(base_url=relay.url + "/v1", api_key="recorded-key-0123456789", max_retries=0)
    out.mkdir(parents=True, exist_ok=True)
    for old in out.iterdir():
        old.unlink()
    manifest = []
    for number, name in enumerate(scenario(client)):
        assert relay.seen, f"{name} sent nothing"
        request, status = relay.seen[0]
        relay.seen.clear()
        file = f"{number:02}-{name}.http"
        (out / file).write_bytes(request)
        manifest.append({"file": file, "status": status})
    (out / "manifest.json").write_text(json.dumps(
        {"package": "openai", "version": openai.__version__, "requests": manifest}, indent=1) + "\n")
    server.stdin.close()
    server.wait()


main()
