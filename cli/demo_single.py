"""The demo's yardstick: the same work in one process, without noex.

Reads a header line of JSON (size, least, length), then the text; prints the totals as JSON. It
ends when its standard input does: it must not outlive the program that started it.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import Any

from noex.cli.demo_text import analyse, cut, merge


def header(text: bytes, size: int, least: int) -> bytes:
    """The first line of what this program reads."""
    return json.dumps({"size": size, "least": least, "length": len(text)}).encode() + b"\n"


def main() -> None:
    """Analyse all chunks one after the other."""
    with open(0, "rb", buffering=0, closefd=False) as source:
        head = json.loads(source.readline())
        text = _read(source, head["length"])
    threading.Thread(target=_end_with_input, daemon=True).start()
    chunks = cut(text.decode(), head["size"], head["least"])
    json.dump(merge(analyse(chunk) for chunk in chunks), sys.stdout)


def _read(source: Any, length: int) -> bytes:
    text = bytearray()
    while len(text) < length:
        piece = source.read(length - len(text))
        if not piece:
            sys.exit("the text ended early")
        text += piece
    return bytes(text)


def _end_with_input() -> None:
    # os.read: a buffered reader that is being read would hold up the end of the interpreter.
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
