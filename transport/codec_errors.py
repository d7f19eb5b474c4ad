"""What can be wrong with bytes that arrive.

::

    NoexError
    ├── DecodeError(reason)          the bytes are no valid message: its sender breaks the protocol
    └── UnknownTypeError(type_name)  a well-formed message of a type that is not known here

They are siblings on purpose: the first closes a link, the second is an answer to one message.
"""

from __future__ import annotations

from noex.runtime.errors import NoexError


class DecodeError(NoexError):
    """The bytes are not a valid encoding, or go beyond a limit of this codec."""

    fields = ("reason",)

    def __init__(self, reason: str) -> None:
        super().__init__(reason)

    def describe(self) -> str:
        return f"not a valid message: {self.args[0]}"


class UnknownTypeError(NoexError):
    """A message holds a value of a type that this node does not know."""

    fields = ("type_name", "reason")

    def __init__(self, type_name: str, reason: str = "") -> None:
        super().__init__(type_name, reason)

    def describe(self) -> str:
        why = self.args[1] or "register its class with @noex.message in a module this node imports"
        return f"a message holds {self.args[0]}, which is not known here: {why}"
