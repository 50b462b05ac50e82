"""Records as annotation tools export them."""

TEXT = "Anna Berg moved to Rome."
SPANS = [(0, 9, "PER"), (19, 23, "LOC")]


def prodigy(text=TEXT, spans=SPANS, **more):
    return {
        "text": text,
        "spans": [dict(zip(("start", "end", "label"), s, strict=True)) for s in spans],
        **more,
    }


def doccano(text=TEXT, spans=SPANS, **more):
    return {"id": 1, "text": text, "label": [list(s) for s in spans], **more}


def entities(text=TEXT, spans=SPANS):
    found = [
        {"id": n, "start_offset": s, "end_offset": e, "label": name} for n, (s, e, name) in enumerate(spans)
    ]
    return {"id": 1, "text": text, "entities": found, "relations": []}


def region(text, span, name="ner"):
    start, end, label = span
    value = {"start": start, "end": end, "text": text[start:end], "labels": [label]}
    return {"from_name": name, "to_name": "text", "type": "labels", "value": value}


def chosen(*names, name="mood"):
    return {"from_name": name, "to_name": "text", "type": "choices", "value": {"choices": list(names)}}


def task(*regions, text=TEXT, key="text", **more):
    return {"id": 7, "data": {key: text}, "annotations": [{"id": 1, "result": list(regions), **more}]}


def labelstudio(text=TEXT, spans=SPANS):
    return task(*(region(text, span) for span in spans), text=text)
