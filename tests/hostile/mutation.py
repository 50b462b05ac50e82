"""Valid files, spoilt in every way that bytes can be: a strategy for hypothesis, and how much of it to run."""

from __future__ import annotations

import os

from hypothesis import strategies as st

FACTOR = int(os.environ.get("PTM_FUZZ", "1"))  # make fuzz N=20: twenty times as many

# What readers stumble over, besides bytes that are merely wrong.
_TOKENS = [
    b"\0", b'"', b",", b"\n", b"\r", b"\t", b"\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"9" * 5000, b"[" * 3000,
    b'{"a":' * 3000, b"NaN", b"-Infinity", b"1e999", b"-1", b"null", b"true", b"{}", b"[]", b"../../x", b"\\ud800",
    b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff\xff\xff\xff\xff", b"\x00" * 64, b"!!python/object/apply:os.system",
]  # fmt: skip

edits = st.lists(
    st.tuples(
        st.sampled_from(["flip", "replace", "insert", "delete", "cut", "repeat", "zero"]),
        st.floats(0, 1, exclude_max=True),
        st.one_of(st.sampled_from(_TOKENS), st.binary(min_size=1, max_size=8)),
    ),
    min_size=1,
    max_size=4,
)


def spoil(raw: bytes, changes: list[tuple[str, float, bytes]]) -> bytes:
    """``raw`` after each of the changes: (what, where as a share of the length, with which bytes)."""
    for what, share, token in changes:
        at = int(share * len(raw))
        end = at + len(token)
        if what == "flip" and raw:
            raw = raw[:at] + bytes([raw[at] ^ (token[0] or 1)]) + raw[at + 1 :]
        elif what == "replace":
            raw = raw[:at] + token + raw[end:]
        elif what == "insert":
            raw = raw[:at] + token + raw[at:]
        elif what == "delete":
            raw = raw[:at] + raw[end:]
        elif what == "cut":
            raw = raw[:at]
        elif what == "repeat":
            raw = raw[:at] + raw[at : at + 40] * 3 + raw[at:]
        elif what == "zero":
            raw = raw[:at] + bytes(len(raw[at:end])) + raw[end:]
    return raw
