"""The messages of proto/headrace/v1 as bytes, and what producers may send. Pure.

``encode_x`` gives the bytes of a domain value (``headrace.messages``), ``decode_x``
takes them back and checks every bound that the contract states; what breaks it raises
``errors.Unreadable`` with a stable code (``bounds`` and ``input`` list them). Encoding
cuts texts of errors to their bounds and trusts the rest. Unknown fields of a newer
contract are ignored and not carried on: upgrade the last stage first.
"""

from headrace.headers import arrival_of, output_headers
from headrace.wire.control import decode_pause, encode_pause
from headrace.wire.events import encode_event
from headrace.wire.input import decode_event, needs_rekey
from headrace.wire.letters import decode_dead_letter, encode_dead_letter
from headrace.wire.slices import (
    decode_chunk_slice,
    decode_embedded_slice,
    encode_chunk_slice,
    encode_embedded_slice,
)
from headrace.wire.statuses import (
    decode_heartbeat,
    decode_status,
    encode_heartbeat,
    encode_status,
)
from headrace.wire.texts import (
    TextPartReader,
    decode_loaded_text,
    encode_loaded_text,
    encode_text_part,
    write_text_parts,
)

__all__ = [
    "TextPartReader",
    "arrival_of",
    "decode_chunk_slice",
    "decode_dead_letter",
    "decode_embedded_slice",
    "decode_event",
    "decode_heartbeat",
    "decode_loaded_text",
    "decode_pause",
    "decode_status",
    "encode_chunk_slice",
    "encode_dead_letter",
    "encode_embedded_slice",
    "encode_event",
    "encode_heartbeat",
    "encode_loaded_text",
    "encode_pause",
    "encode_status",
    "encode_text_part",
    "needs_rekey",
    "output_headers",
    "write_text_parts",
]
