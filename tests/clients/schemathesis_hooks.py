"""What a schema cannot say, for schemathesis: what a picture and a video look like, and which fields
go together.

CLIENTS_VIDEO names a small video.
"""
import base64
import os
import struct
import zlib

import hypothesis
import schemathesis
from hypothesis import strategies as st

# Without "target": its hill climbing fails by itself (IndexError) when a better case is shorter.
hypothesis.settings.register_profile(
    "clients", phases=[phase for phase in hypothesis.Phase if phase != hypothesis.Phase.target])
hypothesis.settings.load_profile("clients")


def png(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes((x * 7 + y * 3) % 256 for x in range(3 * width)) for y in range(height))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


PICTURES = [png(16, 16), png(64, 48), png(1, 1)]
with open(os.environ["CLIENTS_VIDEO"], "rb") as file:
    VIDEOS = [file.read()]


def data_urls(kind, files):
    return st.sampled_from([f"data:{kind};base64," + base64.b64encode(one).decode() for one in files])


schemathesis.openapi.format("picture-data-url", data_urls("image/png", PICTURES))
schemathesis.openapi.format("video-data-url", data_urls("video/mp4", VIDEOS))
schemathesis.openapi.format("frame-ranges", st.sampled_from(["1", "1-2,5", "3,7-9,20"]))
schemathesis.openapi.format("picture-file", st.sampled_from(PICTURES))
schemathesis.openapi.format("video-file", st.sampled_from(VIDEOS))


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """The bound of overlap by steps of window, in three steps of eleven: more alternatives than the
    generator multiplies out."""
    for schema in raw_schema["components"]["schemas"].values():
        for group in schema.get("allOf", []):
            steps = group.get("anyOf", [])
            if all("overlap" in step.get("properties", {}) for step in steps):
                group["anyOf"] = [steps[i] for i in (0, 4, 7)]


@schemathesis.hook
def map_body(context, body):
    """Frames to fill are among the video's, and of one that starts from a picture some are left to
    make: no schema compares the two."""
    if not isinstance(body, dict):
        return body
    frames = body.get("frames")
    if any(body.get(name) for name in ("init_image", "input_reference", "keyframes")):
        if frames == 1:
            body["frames"] = 64
        if frames is None:
            body.pop("seconds", None)
    if body.get("missing"):
        if isinstance(frames, (int, float)) and not isinstance(frames, bool) and 1 <= frames < 64:
            body["frames"] = 64
        if isinstance(frames, (int, float)) is False and "seconds" in body:
            del body["seconds"]
    return body
