"""A writer of TensorFlow bundles after the public description of the format.

LevelDB's table format (blocks of prefix-compressed entries with restart points, a trailer of one
byte and a masked CRC-32C, index block, footer) and tensor_bundle.proto. Its CRC is bit by bit.
"""

import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np

TABLE = []
for _byte in range(256):
    for _ in range(8):
        _byte = _byte >> 1 ^ (0x82F63B78 if _byte & 1 else 0)
    TABLE.append(_byte)


def crc(data: bytes) -> int:
    value = 0xFFFFFFFF
    for byte in data:
        value = TABLE[(value ^ byte) & 0xFF] ^ value >> 8
    return value ^ 0xFFFFFFFF


def masked(data: bytes) -> int:
    value = crc(data)
    return ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF


def varint(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def block(pairs: list[tuple[bytes, bytes]], restart_every: int = 4) -> bytes:
    out, restarts, before = bytearray(), [], b""
    for n, (key, value) in enumerate(pairs):
        shared = 0
        if n % restart_every == 0:
            restarts.append(len(out))
        else:
            while shared < min(len(key), len(before)) and key[shared] == before[shared]:
                shared += 1
        out += varint(shared) + varint(len(key) - shared) + varint(len(value))
        out += key[shared:] + value
        before = key
    for position in restarts or [0]:
        out += struct.pack("<I", position)
    return bytes(out) + struct.pack("<I", len(restarts or [0]))


def table(pairs: list[tuple[bytes, bytes]], *, per_block: int = 10, snappy: bool = False) -> bytes:
    out = bytearray()

    def append(content: bytes) -> bytes:
        """Write a block; give its handle."""
        kind = 0
        if snappy:
            import cramjam

            content, kind = bytes(cramjam.snappy.compress_raw(content)), 1
        handle = varint(len(out)) + varint(len(content))
        trailer = bytes([kind])
        out.extend(content + trailer + struct.pack("<I", masked(content + trailer)))
        return handle

    index = []
    for start in range(0, len(pairs), per_block):
        part = pairs[start : start + per_block]
        index.append((part[-1][0] + b"\x00", append(block(part))))
    handles = append(block([])) + append(block(index, restart_every=1))
    return bytes(out) + handles.ljust(40, b"\x00") + struct.pack("<Q", 0xDB4775248B80FB57)


def write(
    prefix: Path, variables: Mapping[str, np.ndarray], *, shards: int = 1, snappy: bool = False
) -> None:
    """Write PREFIX.index and its data files; variables are dealt to the shards in turn."""
    types = {"float32": 1, "float64": 2, "int32": 3, "int64": 9}
    data = [bytearray(b"#" * shard) for shard in range(shards)]  # not all begin at 0
    pairs = [(b"", field(1, shards) + field(3, field(1, 1)))]
    for n, name in enumerate(sorted(variables)):
        value = np.asarray(variables[name])
        content, shard = value.tobytes(), n % shards
        shape = b"".join(field(2, field(1, size) if size else b"") for size in value.shape)
        entry = field(1, types[str(value.dtype)]) + field(2, shape)
        entry += field(3, shard) if shard else b""
        entry += field(4, len(data[shard])) if data[shard] else b""
        entry += field(5, len(content)) + varint(6 << 3 | 5) + struct.pack("<I", masked(content))
        pairs.append((name.encode(), entry))
        data[shard] += content
    prefix.with_name(f"{prefix.name}.index").write_bytes(table(pairs, snappy=snappy))
    for shard, content in enumerate(data):
        name = f"{prefix.name}.data-{shard:05d}-of-{shards:05d}"
        prefix.with_name(name).write_bytes(content)
