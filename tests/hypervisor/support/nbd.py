"""An NBD client that sends what a test says, whole or in pieces, right or wrong."""

import socket
import struct

GREETING = b'NBDMAGICIHAVEOPT' + struct.pack('>H', 3)
EXPORT_NAME, ABORT, LIST, STARTTLS, INFO, GO, STRUCTURED, LIST_META, SET_META = 1, 2, 3, 5, 6, 7, 8, 9, 10
ACK, SERVER, REP_INFO, META = 1, 2, 3, 4
ERR_UNSUPPORTED, ERR_POLICY, ERR_INVALID, ERR_TLS_REQUIRED, ERR_UNKNOWN = (
    0x80000001, 0x80000002, 0x80000003, 0x80000005, 0x80000006)
READ, WRITE, DISC, FLUSH, TRIM, CACHE, ZEROES, STATUS = 0, 1, 2, 3, 4, 5, 6, 7
FUA, NO_HOLE, DF, REQ_ONE, FAST_ZERO = 1, 2, 4, 8, 16
CAN_MULTI_CONN = 256
EPERM, EIO, EINVAL, ENOSPC, ENOTSUP, ESHUTDOWN = 1, 5, 22, 28, 95, 108
TIMEOUT = 60


def text(value):
    return struct.pack('>I', len(value)) + value


def contexts(name, *queries):
    return text(name) + struct.pack('>I', len(queries)) + b''.join(text(one) for one in queries)


class Closed(ConnectionError):
    """The server ended the connection."""


class Nbd:
    """Connected, and greeted."""

    def __init__(self, path=None, address=None, flags=3):
        self.socket = socket.socket(socket.AF_INET if address else socket.AF_UNIX)
        self.socket.settimeout(TIMEOUT)
        self.socket.connect(address or path)
        self.greeting = self.receive(18)
        if flags is not None:
            self.send(struct.pack('>I', flags))
        self.structured = False
        self.size = self.flags = None
        self.cookie = 0

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # ---- Bytes -----------------------------------------------------------------------------------

    def send(self, data, piece=None):
        if piece is None:
            self.socket.sendall(data)
            return
        for at in range(0, len(data), piece):
            self.socket.sendall(data[at:at + piece])

    def receive(self, count):
        data = b''
        while len(data) < count:
            try:
                part = self.socket.recv(count - len(data))
            except ConnectionResetError:
                part = b''
            if not part:
                raise Closed(f'after {len(data)} of {count} bytes')
            data += part
        return data

    def is_closed(self):
        """Waits for the end; false if something comes instead."""
        try:
            self.receive(1)
        except Closed:
            return True
        return False

    # ---- Negotiation -----------------------------------------------------------------------------

    def option(self, number, payload=b'', piece=None):
        """All replies to an option, as (type, payload); the last is an ACK or an error."""
        self.send(b'IHAVEOPT' + struct.pack('>II', number, len(payload)) + payload, piece)
        replies = []
        while not replies or (replies[-1][0] != ACK and replies[-1][0] < 0x80000000):
            magic, about, kind, length = struct.unpack('>QIII', self.receive(20))
            assert (magic, about) == (0x3e889045565a9, number), (hex(magic), about)
            replies.append((kind, self.receive(length)))
        return replies

    def go(self, name, structured=True, context=None):
        if structured:
            assert self.option(STRUCTURED) == [(ACK, b'')]
            self.structured = True
        if context:
            assert self.option(SET_META, contexts(name, context))[-1][0] == ACK
        replies = self.option(GO, text(name) + struct.pack('>H', 0))
        assert replies[-1][0] == ACK, replies
        info = next(payload for kind, payload in replies if payload[:2] == b'\0\0')
        self.size, self.flags = struct.unpack('>QH', info[2:])
        return self

    # ---- Requests --------------------------------------------------------------------------------

    def submit(self, command, offset=0, length=0, flags=0, payload=b'', piece=None):
        self.cookie += 1
        self.send(struct.pack('>IHHQQI', 0x25609513, flags, command, self.cookie, offset,
                              length or len(payload)) + payload, piece)
        return self.cookie

    def answer(self, read_bytes=0):
        """(cookie, error, data); chunks of one reply put together, holes as zeroes."""
        magic, = struct.unpack('>I', self.receive(4))
        if magic == 0x67446698:
            error, cookie = struct.unpack('>IQ', self.receive(12))
            return cookie, error, self.receive(read_bytes) if not error else b''
        error, data, flags = 0, {}, 0
        while True:
            assert magic == 0x668e33ef, hex(magic)
            flags, kind, cookie, length = struct.unpack('>HHQI', self.receive(16))
            payload = self.receive(length)
            if kind == 1:
                data[struct.unpack('>Q', payload[:8])[0]] = payload[8:]
            elif kind == 2:
                at, count = struct.unpack('>QI', payload)
                data[at] = bytes(count)
            elif kind == 5:
                data[0] = payload
            elif kind >= 0x8000:
                error, = struct.unpack('>I', payload[:4])
            if flags & 1:
                return cookie, error, b''.join(data[at] for at in sorted(data))
            magic, = struct.unpack('>I', self.receive(4))

    def request(self, command, offset=0, length=0, flags=0, payload=b''):
        """(error, data)"""
        cookie = self.submit(command, offset, length, flags, payload)
        told, error, data = self.answer(length if command == READ and not self.structured else 0)
        assert told == cookie
        return error, data

    def status(self, offset, length, flags=0):
        """[(length, flags)]"""
        error, data = self.request(STATUS, offset, length, flags)
        assert error == 0, error
        return [struct.unpack('>II', data[at:at + 8]) for at in range(4, len(data), 8)]
