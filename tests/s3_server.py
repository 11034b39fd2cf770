"""A small S3: what geotiler asks of a bucket, over HTTP, in memory, in a process of its own.

    python tests/s3_server.py

prints its port and serves until its input ends. Every request has to be signed. A bucket exists
when it was put. /-/refuse?N lets the next N requests come back later; /-/log tells all requests as
JSON; /-/deny?WORD forbids requests of that method (LIST: listings); /-/naive?1 lets it ignore
conditions of a put; /-/stall?NAME lets the next put of an object of that name wait for /-/stall?.
Written from the API reference of Amazon S3.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import re
import sys
import threading
import time
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

OBJECTS: dict[str, dict[str, tuple[bytes, dict[str, str]]]] = {}
"""Bucket → key → content and headers."""
UPLOADS: dict[str, dict[int, bytes]] = {}
STATE: dict[str, Any] = {"refusals": 0, "denied": "", "naive": False, "log": [], "stall": ""}
LOCK = threading.Lock()
FLOWING = threading.Event()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        return

    def answer(self) -> None:
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query, True).items()}
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        bucket, _, key = unquote(url.path).lstrip("/").partition("/")
        if self.command == "PUT" and STATE["stall"] and key.endswith(STATE["stall"]):
            STATE["stall"] = ""
            FLOWING.wait(60)
        with LOCK:
            if bucket == "-":
                self.asked(key, url.query)
                return
            STATE["log"].append(f"{self.command} {unquote(self.path)}")
            word, denied = self.command, STATE["denied"]
            if word == "GET" and not key:
                word = "LIST"
            if STATE["refusals"]:
                STATE["refusals"] -= 1
                self.fail(503, "SlowDown")
            elif "AWS4-HMAC-SHA256" not in self.headers.get("Authorization", "") or word == denied:
                self.fail(403, "AccessDenied")
            elif not key and self.command == "PUT":
                OBJECTS.setdefault(bucket, {})
                self.end(200)
            elif bucket not in OBJECTS:
                self.fail(404, "NoSuchBucket")
            else:
                getattr(self, f"s3_{self.command.lower()}")(OBJECTS[bucket], key, query, body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer  # noqa: N815

    def asked(self, word: str, value: str) -> None:
        if word == "refuse":
            STATE["refusals"] = int(value)
        elif word == "naive":
            STATE["naive"] = value == "1"
        elif word == "deny":
            STATE["denied"] = value
        elif word == "stall":
            STATE["stall"] = value
            (FLOWING.clear if value else FLOWING.set)()
        self.end(200, json.dumps(STATE["log"]).encode() if word == "log" else b"")

    def end(self, code: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(code)
        values = {"Content-Length": str(len(body)), **(headers or {})}
        for key, value in values.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def fail(self, code: int, name: str) -> None:
        self.end(code, f"<Error><Code>{name}</Code><Message>no</Message></Error>".encode())

    def stored(self, objects: dict[str, Any], key: str, body: bytes, marks: dict[str, str]) -> str:
        tag = f'"{hashlib.md5(body).hexdigest()}"'
        headers = {**marks, "ETag": tag, "Last-Modified": formatdate(time.time(), usegmt=True)}
        objects[key] = body, headers
        return tag

    def marks(self) -> dict[str, str]:
        return {k: v for k, v in self.headers.items() if k.lower().startswith("x-amz-meta-")}

    def s3_put(self, objects: dict[str, Any], key: str, query: dict[str, str], body: bytes) -> None:
        if "partNumber" in query:
            UPLOADS[query["uploadId"]][int(query["partNumber"])] = body
            self.end(200, headers={"ETag": f'"{hashlib.md5(body).hexdigest()}"'})
            return
        there = objects[key][1]["ETag"] if key in objects else None
        if self.headers.get("If-None-Match") == "*" and there is not None and not STATE["naive"]:
            self.fail(412, "PreconditionFailed")
            return
        wanted = self.headers.get("If-Match")
        if wanted is not None and wanted != there:
            self.fail(*((404, "NoSuchKey") if there is None else (412, "PreconditionFailed")))
            return
        self.end(200, headers={"ETag": self.stored(objects, key, body, self.marks())})

    def s3_get(self, objects: dict[str, Any], key: str, query: dict[str, str], _: bytes) -> None:
        if not key:
            self.listed(objects, query)
        elif key not in objects:
            self.fail(404, "NoSuchKey")
        else:
            body, headers = objects[key]
            wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            if wanted is None:
                self.end(200, body, headers)
                return
            first = int(wanted[1])
            last = min(len(body) - 1, int(wanted[2] or len(body) - 1))
            place = {"Content-Range": f"bytes {first}-{last}/{len(body)}"}
            self.end(206, body[first : last + 1], {**headers, **place})

    s3_head = s3_get

    def listed(self, objects: dict[str, Any], query: dict[str, str]) -> None:
        most = int(query.get("max-keys", 1000))
        after = query.get("continuation-token", "")
        keys = sorted(k for k in objects if k.startswith(query.get("prefix", "")) and k > after)
        rows = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(objects[key][0])}</Size>"
            f"<LastModified>2026-01-01T00:00:00.000Z</LastModified>"
            f"<ETag>{escape(objects[key][1]['ETag'])}</ETag></Contents>"
            for key in keys[:most]
        )
        more = len(keys) > most
        last = escape(keys[most - 1]) if more else ""
        token = f"<NextContinuationToken>{last}</NextContinuationToken>"
        text = (
            f"<ListBucketResult><IsTruncated>{str(more).lower()}</IsTruncated>"
            f"{token if more else ''}{rows}</ListBucketResult>"
        )
        self.end(200, text.encode())

    def s3_post(
        self, objects: dict[str, Any], key: str, query: dict[str, str], body: bytes
    ) -> None:
        if "delete" in query:
            names = [each.text or "" for each in ElementTree.fromstring(body).findall(".//{*}Key")]
            for name in names:
                objects.pop(name, None)
            done = "".join(f"<Deleted><Key>{escape(name)}</Key></Deleted>" for name in names)
            self.end(200, f"<DeleteResult>{done}</DeleteResult>".encode())
        elif "uploads" in query:
            name = f"upload{len(UPLOADS)}"
            UPLOADS[name] = {}
            objects.setdefault(f"\0{name}", (b"", {**self.marks(), "ETag": ""}))
            text = f"<InitiateMultipartUploadResult><UploadId>{name}</UploadId>"
            self.end(200, f"{text}</InitiateMultipartUploadResult>".encode())
        else:
            name = query["uploadId"]
            content = b"".join(piece for _, piece in sorted(UPLOADS.pop(name).items()))
            marks = objects.pop(f"\0{name}")[1]
            tag = self.stored(objects, key, content, marks)
            text = f"<CompleteMultipartUploadResult><ETag>{escape(tag)}</ETag>"
            self.end(200, f"{text}</CompleteMultipartUploadResult>".encode())

    def s3_delete(self, objects: dict[str, Any], key: str, _q: dict[str, str], _b: bytes) -> None:
        objects.pop(key, None)
        self.end(204)


if __name__ == "__main__":
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(server.server_address[1], flush=True)  # noqa: T201
        sys.stdin.read()
        server.shutdown()
