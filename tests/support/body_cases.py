"""Bodies that say a model, or do not: what a gateway with the models `a` and `b` and their alias `chat` answers."""

from __future__ import annotations

import json
from typing import Final

JSON: Final = {"content-type": "application/json"}
TEXT: Final = {"content-type": "text/plain"}
CLAIMS_B: Final = {"x-model": "b"}
ERROR_KEYS: Final = {"message", "type", "param", "code"}


def padded(model: str, kib: int) -> bytes:
    """A body of that size."""
    return json.dumps({"model": model, "prompt": "x" * (kib * 1024 - 32)}).encode()


# (content, headers, status, models of which one answers)
CASES: dict[str, tuple[bytes, dict[str, str], int, str]] = {
    "a": (b'{"model":"a"}', JSON, 200, "a"),
    "b": (b'{"model":"b"}', JSON, 200, "b"),
    "charset": (b'{"model":"b"}', {"content-type": "application/json; charset=utf-8"}, 200, "b"),
    "unknown": (b'{"model":"zzz"}', JSON, 404, ""),
    "missing": (b"{}", JSON, 400, ""),
    "nested only": (b'{"x":{"model":"a"}}', JSON, 400, ""),
    "null": (b'{"model":null}', JSON, 400, ""),
    "array": (b'{"model":["a"]}', JSON, 400, ""),
    "object": (b'{"model":{"a":"a"}}', JSON, 400, ""),
    "cut off": (b'{"model":"a"', JSON, 400, ""),
    "trailing data": (b'{"model":"a"} x', JSON, 400, ""),
    "trailing comma": (b'{"model":"a",}', JSON, 400, ""),
    "comment": (b'{"model":"a"/**/}', JSON, 400, ""),
    "empty": (b"", JSON, 400, ""),
    "no type": (b'{"model":"a"}', {}, 400, ""),
    "text": (b'{"model":"a"}', TEXT, 400, ""),
    "capital type": (b'{"model":"a"}', {"content-type": "Application/JSON"}, 400, ""),
    "nested first": (b'{"x":{"model":"b"},"model":"a"}', JSON, 200, "a"),
    "other case beside": (b'{"MODEL":"b","model":"a"}', JSON, 200, "a"),
    "twice": (b'{"model":"a","model":"b"}', JSON, 200, "b"),
    "twice, escaped": (b'{"model":"a","\\u006dodel":"b"}', JSON, 200, "b"),
    "escaped key": (b'{"\\u006dodel":"b"}', JSON, 200, "b"),
    "escaped value": (b'{"model":"\\u0062"}', JSON, 200, "b"),
    "number": (b'{"model":5}', JSON, 404, ""),
    "true": (b'{"model":true}', JSON, 404, ""),
    "line ends": (b'{"model":"a\\r\\nx-model: b"}', JSON, 404, ""),
    "not ASCII": ('{"model":"ä"}'.encode(), JSON, 404, ""),
    "blank": (b'{"model":"a "}', JSON, 404, ""),
    "300 characters": (b'{"model":"' + b"a" * 300 + b'"}', JSON, 404, ""),
    "100 KB": (b'{"model":"' + b"a" * 102_400 + b'"}', JSON, 400, ""),
    "deep": (b'{"x":' + b"[" * 20_000 + b"]" * 20_000 + b',"model":"a"}', JSON, 400, ""),
    "NaN": (b'{"x":NaN,"model":"a"}', JSON, 400, ""),
    "a byte order mark": (b'\xef\xbb\xbf{"model":"b"}', JSON, 200, "b"),
    "UTF-16": ('{"model":"b"}'.encode("utf-16"), JSON, 400, ""),
    "a lone surrogate elsewhere": (b'{"x":"\\ud800","model":"a"}', JSON, 400, ""),
    "a number without end": (b'{"x":1e999,"model":"a"}', JSON, 400, ""),
    "infinity": (b'{"x":Infinity,"model":"a"}', JSON, 400, ""),
    "NUL in the name": (b'{"model":"a\\u0000"}', JSON, 404, ""),
    "line end in the name": (b'{"model":"a\\n"}', JSON, 404, ""),
    "an escaped letter that is not ASCII": (b'{"model":"\\u00e4"}', JSON, 404, ""),
    "an empty name": (b'{"model":""}', JSON, 400, ""),
    "another case": (b'{"model":"A"}', JSON, 404, ""),
    "a prefix of a name": (b'{"model":"cha"}', JSON, 404, ""),
    "a name and more": (b'{"model":"a,b"}', JSON, 404, ""),
    "false": (b'{"model":false}', JSON, 404, ""),
    "a fraction": (b'{"model":1.5}', JSON, 404, ""),
    "three times": (b'{"model":"b","model":"b","model":"a"}', JSON, 200, "a"),
    "twice, the last is null": (b'{"model":"b","model":null}', JSON, 400, ""),
    "in a list": (b'[{"model":"a"}]', JSON, 400, ""),
    "a text": (b'"a"', JSON, 400, ""),
    "a number": (b"5", JSON, 400, ""),
    "blanks around": (b' \n{ "model" : "b" } \r\n', JSON, 200, "b"),
    "an escaped alias": (b'{"model":"\\u0063hat"}', JSON, 200, "ab"),
    "alias": (b'{"model":"chat"}', JSON, 200, "ab"),
    "two documents": (b'{"model":"a"}{"model":"b"}', JSON, 400, ""),
    "single quotes": (b"{'model':'a'}", JSON, 400, ""),
    "a charset without a blank": (b'{"model":"b"}', {"content-type": "application/json;charset=utf-8"}, 200, "b"),
    "JSON of another kind": (b'{"model":"a"}', {"content-type": "application/ld+json"}, 400, ""),
    "a claim beside the body": (b'{"model":"a"}', JSON | CLAIMS_B, 200, "a"),
    "a claim, text": (b'{"model":"a"}', TEXT | CLAIMS_B, 400, ""),
    "a claim, no type": (b'{"model":"a"}', CLAIMS_B, 400, ""),
    "a claim, no JSON": (b"x", JSON | CLAIMS_B, 400, ""),
    "a claim, no body": (b"", JSON | CLAIMS_B, 400, ""),
    "a claim, no model": (b"{}", JSON | CLAIMS_B, 400, ""),
    "a claimed status": (b'{"model":"a"}', JSON | {"x-model-status": "missing"}, 200, "a"),
    "a claim in capitals": (b"{}", JSON | {"X-MODEL": "b"}, 400, ""),
    "31 KiB": (padded("b", 31), JSON, 200, "b"),
    "40 KiB": (padded("b", 40), JSON, 200, "b"),  # over Envoy Gateway's default
    "900 KiB": (padded("b", 900), JSON, 200, "b"),
    "1.2 MiB": (padded("b", 1200), JSON, 200, "b"),  # over Envoy's default
    "3 MiB": (padded("b", 3072), JSON, 200, "b"),
    "5 MiB": (padded("b", 5120), JSON, 413, ""),
}  # fmt: skip
