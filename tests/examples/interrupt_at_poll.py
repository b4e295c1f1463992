"""Interrupts a program at a place that a test chooses: when it goes to wait for the n-th time.

    done = run_interrupted(['millrace', 'map', 'x'], signal.SIGINT, at_wait=3, cwd=folder)

The program is traced (ptrace) as far as its n-th call of poll(), is sent the signal there, and goes
on untraced. No clock decides what it has done by then. `has_come` says whether it came so far.
run_watched() lets a test look at it there instead; run_interrupted_at_output() interrupts it where
it tells something. What hangs is killed after `timeout` seconds, and subprocess.TimeoutExpired says so.
"""

import contextlib
import ctypes
import itertools
import os
import signal
import subprocess
import tempfile
import threading
import typing

TRACEME, SYSCALL, DETACH, SETOPTIONS, GET_SYSCALL_INFO = 0, 24, 17, 0x4200, 0x420e
SYSGOOD_AND_EXITKILL = 1 | 0x100000
ENTRY = 1  # of a system call, in what GET_SYSCALL_INFO tells
POLLS = {'x86_64': (7, 271), 'aarch64': (73,)}.get(os.uname().machine, ())
WRITES = {'x86_64': (1,), 'aarch64': (64,)}.get(os.uname().machine, ())

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
libc.ptrace.restype = ctypes.c_long


class Done(typing.NamedTuple):
    has_come: bool
    returncode: int
    stdout: str
    stderr: str


def ptrace(request, pid, address=0, data=0):
    if libc.ptrace(request, pid, address, data) < 0:
        raise OSError(ctypes.get_errno(), 'ptrace')


def call_at(pid):
    """The system call that it is about to make, and its first argument; (None, None) at others' ends."""
    info = (ctypes.c_uint64 * 16)()
    ptrace(GET_SYSCALL_INFO, pid, ctypes.sizeof(info), ctypes.addressof(info))
    # struct ptrace_syscall_info: op in the first byte; behind 24 bytes the call, then its arguments.
    return (info[3], info[4]) if info[0] & 0xff == ENTRY else (None, None)


def is_at_poll(pid):
    return call_at(pid)[0] in POLLS


def is_at_output(pid):
    call, descriptor = call_at(pid)
    return call in WRITES and descriptor == 1


@contextlib.contextmanager
def killed_after(seconds, program):
    """Waits for a program that is traced have no deadlines of their own."""
    is_late = threading.Event()
    process = os.pidfd_open(program.pid)

    def kill():
        is_late.set()
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(process, signal.SIGKILL)

    timer = threading.Timer(seconds, kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        os.close(process)
    if is_late.is_set():
        raise subprocess.TimeoutExpired(program.args, seconds)


def trace(program, at_place, is_at_place):
    """Lets it run, and calls at_place(pid) where is_at_place(pid), until that returns True: then it
    goes on untraced. False: it has ended before."""
    os.waitpid(program.pid, 0)  # it stops once it is the new program
    ptrace(SETOPTIONS, program.pid, 0, SYSGOOD_AND_EXITKILL)
    pending = 0
    while True:
        ptrace(SYSCALL, program.pid, 0, pending)
        _, status = os.waitpid(program.pid, 0)
        if not os.WIFSTOPPED(status):
            program.returncode = os.waitstatus_to_exitcode(status)
            return False
        number = os.WSTOPSIG(status)
        pending = 0 if number & 0x80 else number
        if number != signal.SIGTRAP | 0x80 or not is_at_place(program.pid):
            continue
        if at_place(program.pid):
            ptrace(DETACH, program.pid)
            return True


def can_interrupt():
    """Whether the host lets us trace."""
    if not POLLS:
        return False
    try:
        run_interrupted(['true'], signal.SIGINT, 1)
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def run_watched(words, at_place, cwd=None, timeout=120, env=None, is_at_place=is_at_poll):
    """Calls at_place(pid) each time that it goes to wait, until that returns True."""
    env = dict(os.environ if env is None else env)
    # LeakSanitizer cannot look at a program that is traced to its end.
    env['ASAN_OPTIONS'] = f"{env.get('ASAN_OPTIONS', '')}:detect_leaks=0"
    with tempfile.TemporaryFile('w+') as out, tempfile.TemporaryFile('w+') as errors:
        program = subprocess.Popen(words, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=out,
                                   stderr=errors, preexec_fn=lambda: ptrace(TRACEME, 0))
        try:
            with killed_after(timeout, program):
                has_come = trace(program, at_place, is_at_place)
            program.wait(timeout)
        finally:
            if program.returncode is None:
                program.kill()
                program.wait()
        out.seek(0)
        errors.seek(0)
        return Done(has_come, program.returncode, out.read(), errors.read())


def run_interrupted(words, number, at_wait, cwd=None, timeout=120):
    waits = itertools.count(1)

    def at_poll(pid):
        if next(waits) < at_wait:
            return False
        os.kill(pid, number)
        return True

    return run_watched(words, at_poll, cwd, timeout)


def run_interrupted_at_output(words, number, cwd=None):
    """At its first write to standard output."""

    def at_output(pid):
        os.kill(pid, number)
        return True

    return run_watched(words, at_output, cwd, is_at_place=is_at_output)
