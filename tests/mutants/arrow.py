"""A second reader of the tables of a store, written from section 8 of FORMAT.md and the specification of Arrow's IPC files.

It shares no code with Arrow's implementations. Besides the rows it tells where in the file every number lies that a reader acts on
(`Table.places`), so that these can be changed. What it does not know (a type that no table of AnnData has) it calls `Unknown`: whether
such a file is sound it cannot tell.
"""

from __future__ import annotations

import struct

import numpy as np

BATCH_ROWS = 65_536
FIXED = {(8, True): "<i1", (16, True): "<i2", (32, True): "<i4", (64, True): "<i8",
         (8, False): "<u1", (16, False): "<u2", (32, False): "<u4", (64, False): "<u8"}


class Damage(Exception):
    """The file breaks a rule."""


class Unknown(Exception):
    """The file may be sound: this reader does not know what it uses."""


class Flat:
    """A table of a flatbuffer."""

    def __init__(self, data, base, at):
        self.data, self.base, self.at = data, base, at

    def _field(self, number):
        vtable = self.at - self._read("<i", self.at)
        size = self._read("<H", vtable)
        if 4 + 2 * number >= size:
            return None
        offset = self._read("<H", vtable + 4 + 2 * number)
        return self.at + offset if offset else None

    def _read(self, kind, at):
        try:
            if at < 0:
                raise struct.error
            return struct.unpack_from(kind, self.data, at)[0]
        except struct.error:
            raise Damage("a flatbuffer points outside its bytes") from None

    def place(self, number):
        """Where a field lies in the file, or None."""
        at = self._field(number)
        return None if at is None else self.base + at

    def number(self, number, kind, default=0):
        at = self._field(number)
        return default if at is None else self._read(kind, at)

    def _target(self, number):
        at = self._field(number)
        return None if at is None else at + self._read("<I", at)

    def table(self, number):
        at = self._target(number)
        return None if at is None else Flat(self.data, self.base, at)

    def text(self, number):
        at = self._target(number)
        if at is None:
            return None
        size = self._read("<I", at)
        found = bytes(self.data[at + 4:at + 4 + size])
        if len(found) != size:
            raise Damage("a text is cut off")
        try:
            return found.decode()
        except UnicodeDecodeError:
            raise Damage("a text is not UTF-8") from None

    def vector(self, number, size):
        """Where the elements lie in the flatbuffer."""
        at = self._target(number)
        if at is None:
            return []
        n = self._read("<I", at)
        if at + 4 + n * size > len(self.data):
            raise Damage("a vector is cut off")
        return range(at + 4, at + 4 + n * size, size) if n else []

    def tables(self, number):
        return [Flat(self.data, self.base, at + self._read("<I", at)) for at in self.vector(number, 4)]

    def structs(self, number, kind):
        layout = struct.Struct(kind)
        return [(self.base + at, *layout.unpack_from(self.data, at)) for at in self.vector(number, layout.size)]


def root(data, base):
    flat = Flat(data, base, 0)
    return Flat(data, base, flat._read("<I", 0))


class Column:
    def __init__(self, field):
        self.name = field.text(0)
        self.metadata = {pair.text(0): pair.text(1) for pair in field.tables(6)}
        self.role = self.metadata.get("cellring.role")
        if field.vector(5, 4):
            raise Damage(f"the column {self.name!r} lies within another")
        self.kind = kind_of(field.number(2, "<B"), field.table(3))
        dictionary = field.table(4)
        self.dictionary, self.key = None, None
        if dictionary:
            self.dictionary = dictionary.number(0, "<q")
            index = dictionary.table(1)
            self.key = kind_of(2, index) if index else "<i4"
        self.values = []


def kind_of(number, of):
    """A dtype of numpy, or "text" with the width of its offsets, or "bool"."""
    if number == 2 and of:
        return FIXED.get((of.number(0, "<i"), of.number(1, "<?", False))) or "damaged"
    if number == 3 and of:
        return {0: "<f2", 1: "<f4", 2: "<f8"}.get(of.number(0, "<h"), "damaged")
    return {5: "text4", 20: "text8", 6: "bool"}.get(number, "unknown")


class Table:
    """Columns in their order, each with a list of values, None where one is missing."""

    def __init__(self, data, n_rows):
        self.data, self.n_rows, self.places = data, n_rows, []
        self.dictionaries = {}
        if data[:6] != b"ARROW1" or data[-6:] != b"ARROW1" or len(data) < 18:
            raise Damage("it does not begin and end with ARROW1")
        size = struct.unpack_from("<i", data, len(data) - 10)[0]
        self.places.append((len(data) - 10, 4))
        if not 0 < size <= min(1 << 24, len(data) - 18):
            raise Damage("the footer is longer than the file")
        base = len(data) - 10 - size
        footer = root(data[base:base + size], base)
        self.put(footer.place(0), 2)
        schema = footer.table(1)
        if schema is None or footer.number(0, "<h") != 4 or schema.number(0, "<h") != 0:
            raise Damage("it is not of version V5 and little endian")
        self.columns = [Column(field) for field in schema.tables(1)]
        self.check_schema()
        blocks = "<qi4xq"
        for block in footer.structs(2, blocks):
            self.read_dictionary(*self.message(block, 2))
        batches = footer.structs(3, blocks)
        if len(batches) != -(-n_rows // BATCH_ROWS):
            raise Damage(f"it has {len(batches)} batches")
        for k, block in enumerate(batches):
            head, body = self.message(block, 3)
            rows = min(BATCH_ROWS, n_rows - k * BATCH_ROWS)
            if head.number(0, "<q") != rows:
                raise Damage("a batch has not the rows that belong to it")
            kinds = [column.kind if column.dictionary is None else column.key for column in self.columns]
            for column, values in zip(self.columns, self.batch(head, body, kinds)):
                column.values += self.looked_up(column, values)

    def put(self, at, size):
        if at is not None:
            self.places.append((at, size))

    def check_schema(self):
        names = set()
        for place, column in enumerate(self.columns):
            if "unknown" in (column.kind, column.key):
                raise Unknown(f"the type of the column {column.name!r}")
            if "damaged" in (column.kind, column.key) or column.name is None:
                raise Damage(f"the column {column.name!r} has no type")
            if column.key in ("<f2", "<f4", "<f8"):
                raise Damage(f"the keys of the column {column.name!r} are no integers")
            position = column.role == "source_position"
            fits = {"index": place == 0, None: place > 0}.get(
                column.role, position and 0 < place == len(self.columns) - 1
                and (column.name, column.kind, column.dictionary) == ("cellring.source_position", "<u4", None))
            if not fits or (column.role is None and column.name in names):
                raise Damage(f"the field {column.name!r} is not what its place asks for")
            if column.role is None:
                names.add(column.name)
        if not self.columns:
            raise Damage("it has no columns")

    def message(self, block, kind):
        """The head and the body of the message of a block."""
        place, offset, head_bytes, body_bytes = block
        self.places += [(place, 8), (place + 8, 4), (place + 16, 8)]
        if min(offset, head_bytes, body_bytes) < 0 or offset + head_bytes + body_bytes > len(self.data) or head_bytes < 8:
            raise Damage("a block lies outside the file")
        mark, size = struct.unpack_from("<II", self.data, offset)
        self.places += [(offset, 4), (offset + 4, 4)]
        if mark != 0xFFFFFFFF or size > head_bytes - 8:
            raise Damage("a message is cut off")
        message = root(self.data[offset + 8:offset + 8 + size], offset + 8)
        for number, width in ((0, 2), (1, 1), (3, 8)):
            self.put(message.place(number), width)
        if message.number(0, "<h") != 4 or message.number(1, "<B") != kind or message.number(3, "<q") != body_bytes:
            raise Damage("a message is not what its block says")
        head = message.table(2)
        if head is None:
            raise Damage("a message is empty")
        return head, (offset + head_bytes, body_bytes)

    def read_dictionary(self, head, body):
        number, batch = head.number(0, "<q"), head.table(1)
        self.put(head.place(0), 8)
        kinds = [column.kind for column in self.columns if column.dictionary == number]
        if not kinds or number in self.dictionaries or head.number(2, "<?", False) or batch is None:
            raise Damage(f"the dictionary {number} belongs to no column, or comes in several pieces")
        self.dictionaries[number] = self.batch(batch, body, kinds[:1])[0]

    def batch(self, head, body, kinds):
        rows = head.number(0, "<q")
        self.put(head.place(0), 8)
        nodes, buffers = head.structs(1, "<qq"), head.structs(2, "<qq")
        self.places += [(at + k, 8) for at, *_ in nodes + buffers for k in (0, 8)]
        if head.table(3) or head.vector(4, 8):
            raise Damage("a batch is compressed")
        expected = sum(3 if kind.startswith("text") else 2 for kind in kinds)
        if len(nodes) != len(kinds) or len(buffers) != expected or not 0 <= rows <= 8 * body[1]:
            raise Damage("a batch has not the columns, buffers or rows that it says")
        columns, parts = [], iter(buffers)
        for kind, (_, length, missing) in zip(kinds, nodes):
            if length != rows or not 0 <= missing <= rows:
                raise Damage("a column has not the rows of its batch")
            columns.append(self.decode(kind, rows, missing, [self.buffer(next(parts), body) for _ in
                                                            range(3 if kind.startswith("text") else 2)]))
        return columns

    def buffer(self, about, body):
        _, offset, size = about
        if min(offset, size) < 0 or offset + size > body[1]:
            raise Damage("a buffer lies outside its message")
        return offset, memoryview(self.data)[body[0] + offset:body[0] + offset + size]

    def decode(self, kind, rows, missing, buffers):
        there = [True] * rows
        if missing:
            there = bits(buffers[0][1], rows)
            if rows - sum(there) != missing:
                raise Damage("a column has not the missing values that it says")
        if kind.startswith("text"):
            values = texts(buffers[1], buffers[2][1], rows, int(kind[4:]))
        elif kind == "bool":
            values = bits(buffers[1][1], rows)
        else:
            values = numbers(buffers[1], kind, rows).tolist()
        return [value if is_there else None for value, is_there in zip(values, there)]

    def looked_up(self, column, values):
        if column.dictionary is None:
            return values
        categories = self.dictionaries.get(column.dictionary)
        if categories is None:
            raise Damage("a column has no dictionary")
        if any(key is not None and not 0 <= key < len(categories) for key in values):
            raise Damage("a key is beyond its dictionary")
        return [None if key is None else categories[key] for key in values]

    def column(self, role):
        return next((column.values for column in self.columns if column.role == role), None)


def bits(data, n):
    if len(data) * 8 < n:
        raise Damage("a buffer is shorter than its column")
    return np.unpackbits(np.frombuffer(data, np.uint8), count=n, bitorder="little").astype(bool).tolist() if n else []


def numbers(buffer, kind, n):
    offset, data = buffer
    width = np.dtype(kind).itemsize
    if len(data) < n * width or offset % width:
        raise Damage("a buffer is shorter than its column, or not aligned")
    return np.frombuffer(data, kind, n)


def texts(offsets, data, n, width):
    if n == 0:
        return []
    ends = numbers(offsets, f"<i{width}", n + 1).astype(np.int64)
    if ends[0] < 0 or (np.diff(ends) < 0).any() or ends[-1] > len(data):
        raise Damage("the offsets of texts are not those of the buffer")
    try:
        return [bytes(data[a:b]).decode() for a, b in zip(ends[:-1].tolist(), ends[1:].tolist())]
    except UnicodeDecodeError:
        raise Damage("a text is not UTF-8") from None
