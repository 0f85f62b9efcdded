"""The life of a job through the unmodified `openai` package; typed errors for every refusal.

    python3 openai_client.py http://127.0.0.1:8000 [ROUNDS]

Prints one line a step; ends with a failure status at the first surprise.
"""
import os
import sys
import warnings

import openai

# The endpoints of the package's own makers are gone; the contract is not.
warnings.filterwarnings("ignore", category=DeprecationWarning)

# What a job takes on a real service is small: two seconds of a small picture.
SMALL = {"frames": 16, "seed": 7, "steps": 2}


def check(condition, what):
    if not condition:
        raise SystemExit(f"FAILED: {what}")
    print(f"ok: {what}")


def refused(kind, call, code=None):
    try:
        call()
    except kind as error:
        body = error.body or {}
        check(code is None or body.get("code") == code,
              f"{kind.__name__} {error.status_code} {body.get('code')}")
        check(all(key in body for key in ("message", "type", "param", "code")), "error has its four keys")
        check(error.response.headers.get("x-request-id"), "error has a request id")
        return
    raise SystemExit(f"FAILED: expected {kind.__name__}")


def life(client, model):
    video = client.videos.create(prompt="a red circle over green hills", model=model, extra_body=SMALL)
    check(video.status == "queued" or video.status == "in_progress", "created")
    check(video.seconds == "2" and video.object == "video", "keys are typed")
    check(video.model_extra["request"]["seed"] == 7, "extension fields arrived")
    check(client.videos.retrieve(video.id).id == video.id, "retrieved")
    if client.videos.retrieve(video.id).status != "completed":
        try:
            client.videos.download_content(video.id)
            check(client.videos.retrieve(video.id).status == "completed", "finished meanwhile")
        except openai.ConflictError as error:
            check(error.body["code"] == "video_not_ready", "not ready: ConflictError")
    done = client.videos.create_and_poll(prompt="a blue star", model=model, extra_body=SMALL, timeout=600)
    check(done.status == "completed" and done.progress == 100, "created and polled to its end")
    content = client.videos.download_content(done.id)
    data = content.read()
    check(len(data) > 100 and data[4:8] == b"ftyp", f"downloaded {len(data)} bytes of mp4")
    pages = client.videos.list(limit=1)
    seen = []
    for item in pages:
        seen.append(item.id)
        if len(seen) == 2:
            break
    check(seen[0] == done.id and seen[1] == video.id, "listed page by page, newest first")
    remix = client.videos.remix(done.id, prompt="a green triangle")
    check(remix.remixed_from_video_id == done.id, "remixed")
    check(remix.model_extra["request"]["seed"] == 7, "remix keeps the request")
    client.videos.poll(remix.id)
    for one in (video, done, remix):
        client.videos.poll(one.id)
        check(client.videos.delete(one.id).deleted, "deleted")
    refused(openai.NotFoundError, lambda: client.videos.retrieve(done.id), "not_found")


def refusals(client, model):
    bad = openai.BadRequestError
    refused(bad, lambda: client.videos.create(prompt="", model=model))
    refused(bad, lambda: client.videos.create(prompt="x", model="../etc"), "invalid_value")
    refused(bad, lambda: client.videos.create(prompt="x", model="no-such-model"), "model_not_found")
    refused(bad, lambda: client.videos.create(prompt="x", model=model, size="7x7"), "invalid_value")
    refused(bad, lambda: client.videos.create(prompt="x", model=model, seconds="soon"), "invalid_value")
    refused(bad, lambda: client.videos.create(prompt="x", model=model, extra_body={"nonsense": 1}),
            "unknown_field")
    refused(bad, lambda: client.videos.create(prompt="x", model=model,
                                              extra_body={"extra": {"a": [1, 2]}}), "unknown_field")
    refused(bad, lambda: client.videos.create(prompt="x", model=model,
                                              input_reference=("p.png", b"not a picture", "image/png")))
    refused(bad, lambda: client.videos.extend(prompt="x", seconds="4", video=("v.mp4", b"x")), "invalid_value")
    refused(bad, lambda: client.videos.edit(prompt="x", video=("v.mp4", b"x")), "invalid_value")
    refused(bad, lambda: client.videos.download_content("video_" + "0" * 32, variant="spritesheet"),
            "invalid_value")
    refused(openai.NotFoundError, lambda: client.videos.retrieve("video_1"), "not_found")
    refused(openai.NotFoundError, lambda: client.videos.get_character("char_1"), "unsupported")
    refused(openai.NotFoundError, lambda: client.videos.delete("video_" + "0" * 32), "not_found")


def main():
    url, rounds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1
    client = openai.OpenAI(base_url=url + "/v1", api_key=os.environ.get("OPENAI_API_KEY", "none"))
    models = [model.id for model in client.models.list()]
    model = next((name for name in models if name.endswith("few_step")), models[0])
    check(client.models.retrieve(models[0]).id == models[0], "models listed")
    refusals(client, model)
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}")
        life(client, model)
    print("the openai package", openai.__version__, "ran the life of a job", rounds, "times")


if __name__ == "__main__":
    main()
