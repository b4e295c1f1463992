"""A client of a monitor for measuring round trips: replies are looked at, not parsed, so that as
little as can be of what is measured is our own time."""

import json
import os
import socket
import time


class Wire:
    _BUFFER = bytearray(32 << 20)
    _BUFFER[::4096] = b'x' * len(_BUFFER[::4096])  # not to be faulted in while we measure

    def __init__(self, connection):
        self._socket = connection
        self._events = b''

    @classmethod
    def connect(cls, path, timeout=60):
        """To a daemon that will listen there."""
        deadline = time.monotonic() + timeout
        connection = socket.socket(socket.AF_UNIX)
        while True:
            try:
                connection.connect(os.fspath(path))
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.005)
        wire = cls(connection)
        wire._receive()  # the greeting
        wire.call('qmp_capabilities')
        return wire

    def close(self):
        self._socket.close()

    def execute(self, command):
        return self.call(command)

    def call(self, command, arguments=None):
        """Seconds until the reply was there; RuntimeError if it is an error."""
        line = json.dumps({'execute': command, 'arguments': arguments or {}}).encode() + b'\n'
        begun = time.perf_counter()
        self._socket.sendall(line)
        while True:
            count = self._receive()
            ended = time.perf_counter()
            if count > 1 << 20:  # one very long reply
                return ended - begun
            is_answered = False
            for each in bytes(self._BUFFER[:count]).splitlines():
                if each.startswith(b'{"error"'):
                    raise RuntimeError(f'{command}: {each.decode()}')
                if each.startswith(b'{"return"'):
                    is_answered = True
                else:
                    self._events += each
            if is_answered:
                return ended - begun

    def wait_for(self, event, count):
        """Until so many events of this name have come, and forgets all that came."""
        name = f'"event": "{event}"'.encode()
        while self._events.count(name) < count:
            self._events += bytes(self._BUFFER[:self._receive()])
        self._events = b''

    def _receive(self):
        """Reads whole lines into the buffer; how many bytes."""
        view, count = memoryview(self._BUFFER), 0
        while True:
            got = self._socket.recv_into(view[count:])
            if got == 0:
                raise RuntimeError('the daemon is gone')
            count += got
            if self._BUFFER[count - 1] == 10:
                return count
