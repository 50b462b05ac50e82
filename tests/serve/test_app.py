"""A server in this process: what is predicted, what is refused, what becomes of too much at once."""

import asyncio
import base64
import io
import json
import re
import zlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from helpers import Saying
from ptm.errors import DataError
from ptm.experiment.predict import run_prediction
from ptm.experiment.predictor import open_predictor
from ptm.serve.app import build_app
from ptm.serve.settings import Settings
from served import Stand, app_of, ask, client_of, problems_of


@pytest.fixture(scope="module")
def texts(reviews_run):
    with open_predictor(reviews_run, [], reporter=Saying()) as predictor:
        yield predictor


@pytest.fixture(scope="module")
def images(finished_run):
    with open_predictor(finished_run, [], reporter=Saying()) as predictor:
        yield predictor


def png(shape=(20, 30), mode="RGB", seed=0, format="PNG", **options):
    pixels = np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, format, **options)
    return file.getvalue()


def commanded(target, *sources, **how):
    """What ptm predict says of the same."""
    rows = []
    run_prediction(target, sources, receive=rows.append, reporter=Saying(), **how)
    return [{key: value for key, value in row.items() if key not in ("where", "input")} for row in rows]


SENTENCES = ["a fine film", "dull", "the plot was thin and the end came late " * 9, "wonderful, wonderful"]


@pytest.mark.slow
def test_14_05_texts_are_answered_as_ptm_predict_answers_them(texts, reviews_run):
    expected = commanded(reviews_run, texts=SENTENCES)
    (answer,) = ask(app_of(texts), {"json": {"inputs": SENTENCES}})
    assert answer.status_code == 200 and answer.json() == {"predictions": expected}
    by_column = [{"text": sentence, "film": "any"} for sentence in SENTENCES]
    assert ask(app_of(texts), {"json": {"inputs": by_column}})[0].json() == {"predictions": expected}


@pytest.mark.slow
def test_14_05_an_answer_is_the_same_alone_and_beside_others(texts):
    requests = [{"json": {"inputs": [sentence]}} for sentence in SENTENCES * 4]
    alone = [ask(app_of(texts), request)[0].json()["predictions"][0] for request in requests[:4]]
    together = [a.json()["predictions"][0] for a in ask(app_of(texts, wait_ms=200), *requests)]
    for place, row in enumerate(together):
        assert row["prediction"] == alone[place % 4]["prediction"]
        assert row["scores"] == pytest.approx(alone[place % 4]["scores"], abs=2e-6)
    unbatched = [a.json()["predictions"][0] for a in ask(app_of(texts, batch=1), *requests)]
    assert unbatched == alone * 4


@pytest.mark.slow
def test_14_05_images_come_as_base64_as_a_form_and_as_they_are(images, finished_run, tmp_path):
    files = [png(), png((8, 8), "L", 1), png((40, 10), seed=2, format="JPEG")]
    for place, content in enumerate(files):
        (tmp_path / f"{place}.png").write_bytes(content)
    expected = commanded(finished_run, *(tmp_path / f"{place}.png" for place in range(3)))
    encoded = [base64.b64encode(content).decode() for content in files]
    objects = [{"image": encoded[0]}, {"image": f"data:image/png;base64,{encoded[1]}"}, encoded[2]]
    form = [("image", (name, content)) for name, content in zip(("../a", "b.png", ""), files, strict=True)]
    # Of a form, a part without a name of a file would be a field.
    form[2] = ("image", ("c", files[2]))
    answers = ask(app_of(images), {"json": {"inputs": objects}}, {"files": form})
    assert [answer.json() for answer in answers] == [{"predictions": expected}] * 2
    raw = [{"content": c, "headers": {"Content-Type": "image/png"}} for c in files]
    rows = [answer.json()["predictions"][0] for answer in ask(app_of(images), *raw)]
    assert rows == [{**row, "id": 0} for row in expected]


@pytest.mark.slow
def test_14_05_an_export_is_served_and_its_scales_are_those_of_the_input_alone(
    exported_reviews, exported_digits
):
    with open_predictor(exported_reviews, [], reporter=Saying()) as predictor:
        expected = commanded(exported_reviews, texts=SENTENCES)
        (answer,) = ask(app_of(predictor), {"json": {"inputs": SENTENCES}})
        assert answer.json() == {"predictions": expected} and predictor.joined
    with open_predictor(exported_digits, [], reporter=Saying()) as predictor:
        raw = {"content": png(), "headers": {"Content-Type": "image/png"}}
        assert (
            ask(app_of(predictor), raw)[0].json()["predictions"][0]["prediction"] in predictor.pipeline.labels
        )


@pytest.mark.slow
def test_14_05_scales_that_are_found_in_each_pass_are_those_of_one_input(exported_reviews):
    """An int8 export may find its scales in each pass: what stands beside an input would change its answer."""
    with open_predictor(exported_reviews, [], reporter=Saying()) as predictor:
        trained = predictor.trained
        dynamic = replace(trained, export=replace(trained.export, calibration="dynamic"))
        predictor = replace(predictor, trained=dynamic)
        inputs = predictor.read(SENTENCES)
        alone = [predictor.predict([each], 32)[0] for each in inputs]
        assert predictor.predict(inputs, 32) == [{**row, "id": n} for n, row in enumerate(alone)]


@pytest.mark.slow
def test_14_05_inputs_are_refused_with_the_messages_of_ptm_predict(texts, images, reviews_run, tmp_path):
    body = json.dumps({"inputs": ["fine", "", 5, {"txt": "a"}, "\ud800", None]})
    as_json = {"headers": {"Content-Type": "application/json"}}
    (answer,) = ask(app_of(texts), {"content": body, **as_json})
    assert answer.status_code == 422 and answer.json()["error"]["exit_code"] == 3
    assert [(p["where"], p["what"]) for p in problems_of(answer)] == [
        ("inputs[1]", "no text here"),
        ("inputs[2]", "the text is 5"),
        ("inputs[3]", "no 'text'"),
        ("inputs[4]", "half a character, \\ud800"),
        ("inputs[5]", "no text here"),
    ]
    assert problems_of(answer)[2]["cure"] == "rename 'txt' in it"
    cut, empty, bomb = png()[:200], b"", bomb_png(60_000, 60_000)
    objects = [base64.b64encode(content).decode() for content in (cut, empty, bomb, b"GIF89a")]
    (answer,) = ask(app_of(images), {"json": {"inputs": objects}})
    said = {problem["where"]: problem["what"] for problem in problems_of(answer)}
    assert answer.status_code == 422 and said["inputs[1]"] == "is empty"
    assert "cannot be decoded" in said["inputs[0]"]
    assert "3600000000 pixels" in said["inputs[2]"] and "inputs[3]" in said


def bomb_png(width, height):
    """A small file that says it has very many pixels."""

    def chunk(kind, content):
        return (
            len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")
        )

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    packed = zlib.compress(bytes(100_000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


@pytest.mark.slow
@pytest.mark.parametrize(
    "value", ["/etc/passwd", "../../etc/hostname", {"image": "file:///etc/passwd"}, 5, {}]
)
def test_14_05_no_path_is_opened(images, value):
    (answer,) = ask(app_of(images), {"json": {"inputs": [value]}})
    (problem,) = problems_of(answer)
    assert answer.status_code == 422 and problem["where"] == "inputs[0]"
    assert re.match("not base64|no image|is not an image", problem["what"])


@pytest.mark.parametrize(
    "body, status, what",
    [
        (b"{", 400, "not JSON"),
        (b'{"inputs": ["\xff"]}', 400, "not JSON"),
        (b'{"inputs": [NaN]}', 400, "NaN is no number of JSON"),
        (b'{"inputs": ["a"], "inputs": ["b"]}', 400, "stands there twice"),
        (b'{"inputs": ' + b"[" * 200_000, 400, "nested too deeply"),
        (b'{"inputs": [' + b"9" * 5_000 + b"]}", 400, "not JSON"),
        (b"[]", 422, "no JSON object"),
        (b"{}", 422, "an object without 'inputs'"),
        (b'{"inputs": []}', 422, "an empty list"),
        (b'{"inputs": "a"}', 422, "no list: 'a'"),
        (b'{"inputs": ["a"], "threshold": 1}', 422, "no such key: 'threshold'"),
        (b"", 400, "not JSON"),
    ],
)
def test_14_05_a_body_that_is_none_is_refused(body, status, what):
    (answer,) = ask(app_of(Stand()), {"content": body, "headers": {"Content-Type": "application/json"}})
    assert (answer.status_code, what in problems_of(answer)[0]["what"]) == (status, True), answer.text


@pytest.mark.parametrize(
    "headers, status, what",
    [
        ({"Content-Type": "text/plain"}, 415, "a body of type text/plain"),
        ({"Content-Type": "multipart/form-data; boundary=x"}, 415, "a body of type multipart/form-data"),
        ({}, 415, "a body without a type"),
        (
            {"Content-Type": "application/json", "Content-Encoding": "gzip"},
            415,
            "a body that is packed: gzip",
        ),
        (
            {"Content-Type": "application/json", "Origin": "http://evil.example"},
            403,
            "a page of another site",
        ),
        ({"Content-Type": "application/json", "Origin": "null"}, 403, "a page of another site"),
        ({"Content-Type": "application/json", "Origin": "http://127.0.0.1:9"}, 403, "a page of another site"),
        ({"Content-Type": "application/json", "Sec-Fetch-Site": "cross-site"}, 403, "a page of another site"),
        ({"Content-Type": "application/json", "Host": "evil.example"}, 421, "this server is not called"),
        ({"Content-Type": "application/json", "Host": "127.0.0.1.evil.example:8000"}, 421, "not called"),
        ({"Content-Type": "application/json", "Host": "x@127.0.0.1"}, 421, "this server is not called"),
        ({"Content-Type": "application/json", "Host": ""}, 421, "this server is not called"),
    ],
)
def test_14_05_who_may_not_ask_is_told_so(headers, status, what):
    (answer,) = ask(app_of(Stand()), {"content": b'{"inputs": ["a"]}', "headers": headers})
    assert (answer.status_code, what in problems_of(answer)[0]["what"]) == (status, True), answer.text
    assert "access-control-allow-origin" not in answer.headers


def test_14_05_the_page_of_the_server_and_other_names_may_ask():
    own = {"json": {"inputs": ["a"]}, "headers": {"Origin": "http://127.0.0.1:8000"}}
    named = {"json": {"inputs": ["a"]}, "headers": {"Host": "localhost:1234"}}
    assert [answer.status_code for answer in ask(app_of(Stand()), own, named)] == [200, 200]
    other = {"json": {"inputs": ["a"]}, "headers": {"Host": "models.example.org"}}
    assert ask(app_of(Stand(), hosts=None), other)[0].status_code == 200


def test_14_05_a_large_body_is_refused_before_it_is_held():
    taken = []

    async def parts():
        for _ in range(1000):
            taken.append(1)
            yield b"x" * 10_000

    headers = {"Content-Type": "application/json"}
    whole = {"content": b'"' + b"x" * 100_000 + b'"', "headers": headers}
    first, second = ask(app_of(Stand(), body_mb=0.05), whole, {"content": parts(), "headers": headers})
    for answer in (first, second):
        assert answer.status_code == 413 and answer.headers["connection"] == "close"
        assert problems_of(answer)[0]["expected"] == "at most 50,000 bytes"
    assert len(taken) < 10


def test_14_05_a_body_that_does_not_come_and_an_answer_that_does_not_are_told_apart():
    async def slowly():
        yield b'{"inputs": '
        await asyncio.sleep(5)

    slow = {"content": slowly(), "headers": {"Content-Type": "application/json"}}
    (answer,) = ask(app_of(Stand(), timeout=0.2), slow)
    assert answer.status_code == 408 and answer.headers["connection"] == "close"
    (answer,) = ask(app_of(Stand(seconds=0.6), timeout=0.2), {"json": {"inputs": ["a"]}})
    assert answer.status_code == 503 and "not predicted within 0.2 s" in answer.text


def test_14_05_requests_at_once_are_computed_together_and_too_many_are_told_to_come_back():
    stand = Stand(seconds=0.2)
    answers = ask(app_of(stand, batch=4, queue=8), *[{"json": {"inputs": ["abc"]}}] * 40)
    codes = [answer.status_code for answer in answers]
    assert codes.count(200) >= 8 and codes.count(503) >= 20 and set(codes) == {200, 503}
    assert max(stand.batches) == 4 and len(stand.batches) <= 4
    late = next(answer for answer in answers if answer.status_code == 503)
    assert late.headers["retry-after"] == "1" and problems_of(late)[0]["cure"]
    (answer,) = ask(app_of(stand, queue=8), {"json": {"inputs": ["a"] * 9}})
    assert answer.status_code == 422 and "9 inputs in one request" in answer.text


def test_14_05_bodies_that_are_held_have_a_bound():
    body = {"content": b'{"inputs": ["abc"]}', "headers": {"Content-Type": "application/json"}}
    heavy = {
        "content": b" " * 900_000 + b'{"inputs": ["abc"]}',
        "headers": {"Content-Type": "application/json"},
    }
    codes = [a.status_code for a in ask(app_of(Stand(seconds=0.2), wait_ms=100), *[heavy] * 40, body)]
    assert codes.count(503) == 23 and codes.count(200) == 18 and codes[-1] == 200


def test_15_11_who_sends_slowly_holds_no_room_that_others_need():
    async def slowly():
        yield b'{"inputs": '
        await asyncio.sleep(5)

    as_json = {"Content-Type": "application/json"}
    slow = [{"content": slowly(), "headers": as_json} for _ in range(40)]
    said = [{"content": slowly(), "headers": {**as_json, "Content-Length": "900000"}} for _ in range(40)]
    codes = [
        a.status_code for a in ask(app_of(Stand(), timeout=0.5), *slow, *said, {"json": {"inputs": ["abc"]}})
    ]
    assert codes[-1] == 200 and set(codes[:-1]) == {408}


def test_14_05_a_bug_is_told_without_its_inside_and_harms_no_other_request():
    said = []
    requests = [{"json": {"inputs": [text]}} for text in ("a", "bug", "abc")]
    answers = ask(app_of(Stand(), said, wait_ms=100), *requests)
    assert [answer.status_code for answer in answers] == [200, 500, 200]
    assert "secret" not in answers[1].text and "secret" in said[0]
    assert answers[2].json()["predictions"] == [{"id": 0, "prediction": "3"}]


def test_14_05_who_goes_away_leaves_nothing_waiting():
    stand = Stand(seconds=0.1)
    app = app_of(stand, batch=1)

    async def leave():
        async with client_of(app) as client:
            tasks = [asyncio.create_task(client.post("/predict", json={"inputs": ["a"]})) for _ in range(5)]
            await asyncio.sleep(0.05)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            return (await client.post("/predict", json={"inputs": ["abcd"]})).json()

    assert asyncio.run(leave())["predictions"][0]["prediction"] == "4"
    assert len(stand.batches) <= 3


def test_14_05_health_metrics_and_what_is_not_there():
    app = app_of(Stand())
    asked = [("GET", "/healthz"), ("GET", "/nothing"), ("GET", "/predict"), ("POST", "/healthz")]
    asked += [("GET", "/../../etc/passwd"), ("GET", "/metrics"), ("HEAD", "/")]

    async def in_turn():
        async with client_of(app) as client:
            first = [await client.post("/predict", json={"inputs": ["a", "b"]})]
            return first + [await client.request(method, url) for method, url in asked]

    answers = asyncio.run(in_turn())
    assert [answer.status_code for answer in answers] == [200, 200, 404, 405, 405, 404, 200, 200]
    assert answers[1].json()["status"] == "ok" and problems_of(answers[2])[0]["where"] == "/nothing"
    metrics = answers[6]
    assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")
    for line in (
        'ptm_requests_total{path="/predict",status="200"} 1.0',
        'ptm_requests_total{path="other",status="404"} 2.0',
        "ptm_predictions_total 2.0",
        "ptm_batch_inputs_sum 2.0",
        "ptm_waiting_inputs 0.0",
    ):
        assert line in metrics.text.splitlines()
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")


def test_14_05_each_request_is_a_line_where_that_is_asked_for():
    said = []
    app = build_app(Stand(), Settings(), name="r", hosts=None, say=print, each=said.append)
    ask(app, {"method": "GET", "url": "/healthz"}, {"json": {"inputs": [""]}})
    assert [line.rpartition(" in ")[0] for line in sorted(said)] == ["200 /healthz", "200 /predict"]


def test_14_05_a_form_that_is_none_is_refused():
    app = app_of(Stand(task="image-classification", columns=("image",)))
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    field = b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\n/etc/passwd\r\n--b--\r\n'
    answers = ask(
        app,
        {"content": b"nothing", "headers": kind},
        {"content": b"nothing", "headers": {"Content-Type": "multipart/form-data"}},
        {"content": field, "headers": kind},
        {"content": b"--b--\r\n", "headers": kind},
        {"content": field[:40], "headers": kind},
    )
    assert {answer.status_code for answer in answers} <= {400, 422}
    assert "is no file" in answers[2].text and json.loads(answers[0].text)["error"]["problems"]


def test_15_17_a_key_that_comes_again_after_many_others_is_found_at_once():
    """Counted for each key anew, 300,000 of them would keep a thread for an hour, and the server from ending."""
    keys = ", ".join(f'"{n}": 0' for n in range(300_000))
    body = f'{{{keys}, "last": 0, "last": 0}}'.encode()
    (answer,) = ask(
        app_of(Stand(), body_mb=8), {"content": body, "headers": {"Content-Type": "application/json"}}
    )
    assert (answer.status_code, problems_of(answer)[0]["what"]) == (
        400,
        "not JSON: the key 'last' stands there twice",
    )


def test_15_15_images_of_a_request_that_is_over_are_not_decoded(images):
    asked = []

    def wanted():
        asked.append(1)
        return len(asked) < 3

    with pytest.raises(DataError) as caught:
        images.read([png()] * 40, wanted)
    assert len(asked) == 40 and len(caught.value.problems) <= 38
    assert caught.value.problems[0].what.startswith("not decoded")
    assert len(images.read([png()] * 2)) == 2


def test_15_17_a_form_that_is_cut_off_loses_nothing_silently():
    app = app_of(Stand(task="image-classification", columns=("image",)))
    part = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\nabc\r\n'
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    whole, cut = ask(
        app,
        {"content": part * 2 + b"--b--\r\n", "headers": kind},
        {"content": part * 2, "headers": kind},
    )
    assert len(whole.json()["predictions"]) == 2
    assert cut.status_code == 400 and "cut off" in cut.text
