"""How many system calls does a process make meanwhile? Counted by `perf stat` where that is allowed,
else by `strace -c`, which slows the process down a great deal: take the count of such a run only."""

import functools
import pathlib
import re
import shutil
import signal
import subprocess
import time

_PERF = ('stat', '-x,', '-e', 'raw_syscalls:sys_enter')
_STRACE = ('-f', '-c', '-U', 'calls,name')


@functools.lru_cache(maxsize=None)
def way():
    """'perf', 'strace', or '' where neither works here."""
    if shutil.which('perf'):
        told = subprocess.run(['perf', *_PERF, 'true'], capture_output=True, text=True, check=False)
        if re.search(r'^\d+,', told.stderr, re.MULTILINE):
            return 'perf'
    if shutil.which('strace'):
        told = subprocess.run(['strace', *_STRACE, 'true'], capture_output=True, text=True,
                              check=False)
        if told.returncode == 0 and 'total' in told.stderr:
            return 'strace'
    return ''


class Counter:
    """Counts from its making to stop(), all threads."""

    def __init__(self, pid, folder):
        self._told = pathlib.Path(folder) / 'syscalls'
        self._told.unlink(missing_ok=True)
        if way() == 'perf':
            words = ['perf', *_PERF, '-o', self._told, '-p', pid]
        else:
            words = ['strace', *_STRACE, '-o', self._told, '-p', pid]
        self._process = subprocess.Popen([str(word) for word in words], stdout=subprocess.DEVNULL,
                                         stderr=subprocess.DEVNULL)
        self._wait_until_attached(pid)

    def _wait_until_attached(self, pid):
        """strace shows itself in the process's status, perf nowhere: give it a moment."""
        deadline = time.monotonic() + 5
        while way() == 'strace' and time.monotonic() < deadline:
            status = pathlib.Path(f'/proc/{pid}/status').read_text()
            if int(re.search(r'^TracerPid:\s+(\d+)', status, re.MULTILINE)[1]):
                return
            time.sleep(0.01)
        time.sleep(0.2)

    def stop(self):
        """How many it were."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait(60)
        return parse(self._told.read_text())


def parse(text):
    """The number in what perf (`123,,raw_syscalls:...`) or strace (`123 total`) left."""
    found = (re.search(r'^(\d+),[^\n]*raw_syscalls:sys_enter', text, re.MULTILINE) or
             re.search(r'^\s*(\d+)\s+total$', text, re.MULTILINE))
    if not found:
        raise RuntimeError(f'no count of system calls in: {text[-300:]}')
    return int(found[1])
