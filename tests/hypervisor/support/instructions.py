"""Counts what a process does in instructions, which say the same however busy the machine is.

    with Stepping(process.pid) as stepping:          # its main thread stands still
        count = stepping.until(has_answered)         # that thread goes on, one instruction at a time

By ptrace(2), which may be forbidden (a container, another user's process): Stepping.refusal() says so.
What other threads of the process do is not counted, and they go on.
"""

import ctypes
import os
import signal
import sys

_SINGLE_STEP, _ATTACH, _DETACH = 9, 16, 17
LOOK_EVERY = 256  # instructions after which somebody is asked whether it is over


def _ptrace(request, pid, data=0):
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.restype = ctypes.c_long
    libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
    if libc.ptrace(request, pid, None, data) < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


class Stepping:
    def __init__(self, pid):
        self._pid = pid

    @staticmethod
    def refusal(pid):
        """Why the process cannot be stepped through here; nothing if it can."""
        if not sys.platform.startswith('linux'):
            return 'ptrace(2) is not there'
        try:
            with Stepping(pid):
                return ''
        except OSError as error:
            return f'ptrace(2): {error}'

    def __enter__(self):
        _ptrace(_ATTACH, self._pid)
        self._wait()
        return self

    def __exit__(self, *exception):
        _ptrace(_DETACH, self._pid)

    def _wait(self):
        """Until the thread stands still."""
        _, status = os.waitpid(self._pid, 0)
        if not os.WIFSTOPPED(status):
            raise ChildProcessError('the process has ended')

    def until(self, is_over):
        """Goes on until is_over(), which is asked now and then; how many instructions that took."""
        libc = ctypes.CDLL(None, use_errno=True)
        step, wait, pid = libc.ptrace, os.waitpid, self._pid
        step.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
        count, passed_on = 0, 0
        while not is_over():
            for _ in range(LOOK_EVERY):
                step(_SINGLE_STEP, pid, None, passed_on)
                status = wait(pid, 0)[1]
                if not os.WIFSTOPPED(status):
                    raise ChildProcessError('the process has ended')
                # A stop by anything but the step itself is a signal, which goes on to the process.
                passed_on = 0 if status == _STEPPED else os.WSTOPSIG(status)
            count += LOOK_EVERY
        return count


_STEPPED = signal.SIGTRAP << 8 | 0x7f
