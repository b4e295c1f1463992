#!/usr/bin/env python3
"""A client for QMP, the control protocol of millraced and of QEMU. Standard library only.

    from qmp import QmpClient

    with QmpClient.connect('/run/vm/qmp.sock') as qmp:
        qmp.command('block-stream', job_id='s0', device='drive0')
        qmp.wait_event('BLOCK_JOB_COMPLETED', device='s0', timeout=600)

As a program it sends commands and prints what comes back:

    qmp.py SOCKET COMMAND [KEY=VALUE...]      e.g.  qmp.py vm.sock block-stream device=drive0
    qmp.py SOCKET --events                    print events until the daemon ends

One thread reads the socket for as long as the client lives. So events are never lost while a
command is under way, several threads may issue commands, and a reply that comes late (after a
timeout of ours) is thrown away instead of being taken for the next one.
"""

import collections
import itertools
import json
import os
import socket
import sys
import threading
import time

DEFAULT_TIMEOUT = 60.0


class QmpError(Exception):
    """The daemon refused a command. `data` is Millrace's machine-readable part, if there is one."""

    def __init__(self, command, error):
        self.command = command
        self.error_class = error.get('class', '')
        self.description = error.get('desc', '')
        self.data = error.get('data')
        super().__init__(f'{command}: {self.description}')


class QmpTimeout(Exception):
    """What was waited for did not come in time; the text says what came instead."""


class QmpClosed(ConnectionError):
    """The connection ended, or the peer does not speak QMP."""


class QmpClient:
    """One connection. Made by connect(), accept() or from_fd(), which all negotiate by default."""

    def __init__(self, connection, timeout=DEFAULT_TIMEOUT):
        self.timeout = timeout
        self.greeting = None
        self._socket = connection
        self._changed = threading.Condition()
        self._ids = itertools.count(1)
        self._replies = {}  # what came for an id that somebody waits for; None until it comes
        self._without_id = collections.deque()
        self._events = []
        self._messages = []
        self._closed = None  # why, once it is
        self._sending = threading.Lock()
        self._reader = threading.Thread(target=self._read, name='qmp reader', daemon=True)
        self._reader.start()

    # ---- Making one ------------------------------------------------------------------------------

    @classmethod
    def connect(cls, path, timeout=DEFAULT_TIMEOUT, negotiate=True):
        """To a daemon that listens at `path` (chardev ...,server=on); waits until it does."""
        deadline = time.monotonic() + timeout
        pause = threading.Event()  # never set: connect() of a path has nothing to wait for
        while True:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(os.fspath(path))
                break
            except (FileNotFoundError, ConnectionRefusedError):
                connection.close()
                if time.monotonic() >= deadline:
                    raise QmpTimeout(f'nobody listens at {path} after {timeout:g} s') from None
                pause.wait(0.02)
            except BaseException:
                connection.close()
                raise
        return cls._started(connection, timeout, negotiate)

    @classmethod
    def accept(cls, listener, timeout=DEFAULT_TIMEOUT, negotiate=True):
        """From a listening socket to which the daemon connects (chardev without server=on)."""
        listener.settimeout(timeout)
        try:
            connection, _ = listener.accept()
        except socket.timeout:
            raise QmpTimeout(f'no daemon connected within {timeout:g} s') from None
        connection.settimeout(None)
        return cls._started(connection, timeout, negotiate)

    @classmethod
    def from_fd(cls, fd, timeout=DEFAULT_TIMEOUT, negotiate=True):
        """From our end of a socketpair whose other end the daemon inherits (chardev ...,fd=N).

        The client owns the descriptor from here on. `fd` may be a socket object too.
        """
        connection = fd if isinstance(fd, socket.socket) else socket.socket(fileno=fd)
        return cls._started(connection, timeout, negotiate)

    @classmethod
    def _started(cls, connection, timeout, negotiate):
        client = cls(connection, timeout)
        try:
            client.wait_greeting()
            if negotiate:
                client.command('qmp_capabilities')
        except BaseException:
            client.close()
            raise
        return client

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def close(self):
        """Ends the connection; whoever still waits gets QmpClosed. May be called again."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        if threading.current_thread() is not self._reader:
            self._reader.join()
        self._socket.close()

    # ---- Commands --------------------------------------------------------------------------------

    def command(self, name, **arguments):
        """Sends a command and returns what its "return" member holds; raises QmpError.

        Underscores in argument names stand for dashes: job_id='s0' is "job-id". For a name that
        has underscores of its own use execute().
        """
        arguments = {key.replace('_', '-'): value for key, value in arguments.items()}
        reply = self.execute(name, arguments or None)
        if 'error' in reply:
            raise QmpError(name, reply['error'])
        return reply['return']

    def execute(self, name, arguments=None, timeout=None):
        """Sends a command and returns the whole reply, without the id that we put on it."""
        request = {'execute': name}
        if arguments is not None:
            request['arguments'] = arguments
        return self.request(request, timeout)

    def request(self, request, timeout=None):
        """Sends any JSON object under an id of ours and returns the reply to it, without the id."""
        ident = f'client-{next(self._ids)}'
        with self._changed:
            self._replies[ident] = None
        try:
            self.send(dict(request, id=ident))
            with self._changed:
                self._wait(lambda: self._replies[ident] is not None, timeout,
                           lambda: f'no reply to {json.dumps(request)[:200]}')
                reply = dict(self._replies[ident])
        finally:
            with self._changed:
                self._replies.pop(ident, None)
        reply.pop('id', None)
        return reply

    def send(self, value):
        """Sends a JSON value, or bytes just as they are, and waits for nothing."""
        data = value if isinstance(value, bytes) else (json.dumps(value) + '\n').encode()
        with self._sending:
            try:
                self._socket.sendall(data)
            except OSError as error:
                raise QmpClosed(f'cannot send, the connection is closed: {error}') from error

    def pass_descriptor(self, fd):
        """Passes an open file along, for the command that follows: add-fd, getfd."""
        self.pass_descriptors(fd)

    def pass_descriptors(self, *fds):
        """The same for several in one message; the daemon takes the first."""
        with self._sending:
            socket.send_fds(self._socket, [b' '], list(fds))

    def next_reply(self, timeout=None):
        """The next reply that carries no id of ours: answers to what send() sent."""
        with self._changed:
            self._wait(lambda: self._without_id, timeout, lambda: 'no reply')
            return self._without_id.popleft()

    # ---- Events ----------------------------------------------------------------------------------

    def events(self):
        """What has come and was not taken yet, oldest first; takes nothing."""
        with self._changed:
            return list(self._events)

    def take_events(self, *names):
        """Takes all that have come, or those of the given names."""
        with self._changed:
            taken = [event for event in self._events if not names or event['event'] in names]
            self._events = [event for event in self._events if event not in taken]
            return taken

    def wait_event(self, *names, timeout=None, **data):
        """Takes and returns the oldest event of one of these names whose data has these members.

        What came before is looked at first, so an event that overtakes a command's reply counts.
        """
        data = {key.replace('_', '-'): value for key, value in data.items()}

        def fits(event):
            found = event.get('data', {})
            return event['event'] in names and all(found.get(k) == v for k, v in data.items())

        return self.wait_event_that(fits, timeout, f'{" or ".join(names)} {data or ""}'.strip())

    def wait_event_that(self, fits, timeout=None, what='event'):
        """Takes and returns the oldest event for which fits(event) holds."""
        with self._changed:
            self._wait(lambda: any(fits(event) for event in self._events), timeout,
                       lambda: f'no {what}; events not taken: {json.dumps(self._events)[:2000]}')
            index = next(i for i, event in enumerate(self._events) if fits(event))
            return self._events.pop(index)

    def messages(self):
        """Everything that ever came, replies and events, in the order of the wire."""
        with self._changed:
            return list(self._messages)

    def forget(self):
        """Throws away all that has come so far, so that a client may live for as long as it likes."""
        with self._changed:
            self._events.clear()
            self._messages.clear()

    # ---- Waiting ---------------------------------------------------------------------------------

    def wait_greeting(self, timeout=None):
        with self._changed:
            self._wait(lambda: self.greeting is not None, timeout, lambda: 'no QMP greeting')
            return self.greeting

    def wait_closed(self, timeout=None):
        """Waits until the peer ends the connection."""
        self._reader.join(self.timeout if timeout is None else timeout)
        if self._reader.is_alive():
            raise QmpTimeout('the daemon keeps the connection open')

    def _wait(self, is_true, timeout, what):
        """Under the lock. What has come counts even if the connection has ended since."""
        timeout = self.timeout if timeout is None else timeout
        self._changed.wait_for(lambda: is_true() or self._closed, timeout)
        if is_true():
            return
        if self._closed:
            raise QmpClosed(f'{what()}: {self._closed}')
        raise QmpTimeout(f'{what()} within {timeout:g} s')

    # ---- The reader's thread ---------------------------------------------------------------------

    def _read(self):
        reason = 'the daemon closed the connection'
        value = b''  # one line, or several where the monitor has pretty=on
        try:
            with self._socket.makefile('rb') as lines:
                for line in lines:
                    value += line
                    try:
                        message = json.loads(value)
                    except ValueError:
                        continue
                    value = b''
                    self._take(message)
        except OSError as error:
            reason = f'{type(error).__name__}: {error}'
        if value.strip():
            reason += f'; its last words are not JSON: {value[:200]!r}'
        with self._changed:
            self._closed = reason
            self._changed.notify_all()

    def _take(self, message):
        with self._changed:
            self._messages.append(message)
            if 'QMP' in message:
                self.greeting = message['QMP']
            elif 'event' in message:
                self._events.append(message)
            elif isinstance(message.get('id'), str) and message['id'].startswith('client-'):
                if message['id'] in self._replies:
                    self._replies[message['id']] = message
            else:
                self._without_id.append(message)
            self._changed.notify_all()


def _argument(text):
    """KEY=VALUE, where the value is JSON if it reads as JSON, else a string."""
    key, separator, value = text.partition('=')
    if not separator:
        raise SystemExit(f'qmp.py: {text!r} is not KEY=VALUE')
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def main(words):
    if len(words) < 2 or words[0] in ('-h', '--help'):
        print(__doc__.strip())
        return 0 if words and words[0] in ('-h', '--help') else 2
    try:
        with QmpClient.connect(words[0], timeout=15) as qmp:
            if words[1] == '--events':
                while True:
                    print(json.dumps(qmp.wait_event_that(lambda event: True, 1e9)), flush=True)
            reply = qmp.execute(words[1], dict(map(_argument, words[2:])) or None, timeout=1e9)
            print(json.dumps(reply.get('return', reply), indent=2))
            return 1 if 'error' in reply else 0
    except (QmpTimeout, OSError) as error:
        print(f'qmp.py: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
