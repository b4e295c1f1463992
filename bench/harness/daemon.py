"""A storage daemon under measurement: millraced or qemu-storage-daemon, over QMP."""

import functools
import os
import pathlib
import re
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / 'examples/hypervisor/client'))
from qmp import QmpClient, QmpTimeout  # noqa: E402

AIOS = ('default', 'threads', 'native', 'io_uring')
_TICK = os.sysconf('SC_CLK_TCK')
_OF_JOBS = ('BLOCK_JOB_READY', 'BLOCK_JOB_COMPLETED', 'BLOCK_JOB_CANCELLED', 'BLOCK_JOB_ERROR')


class JobTimeout(Exception):
    """The jobs were not over within the time that they were given."""


def connect_client(path):
    return QmpClient.connect(path, timeout=600)


@functools.lru_cache(maxsize=None)
def _chooses_backend(program):
    """Whether the program has --io: millraced has one backend for all files, QEMU one for each."""
    told = subprocess.run([program, '--help'], capture_output=True, text=True, check=False).stdout
    return bool(re.search(r'^\s+--io\b', told, re.MULTILINE))


def _backend_options(program, aio):
    is_ours = aio in ('threads', 'io_uring') and _chooses_backend(str(program))
    return ['--io', aio] if is_ours else []


class Daemon:
    def __init__(self, program, folder, connect=connect_client, aio='default', cache='direct'):
        """`connect` makes the client, `qmp`, of the monitor's path: see wire.Wire for another.

        `aio` is how files are read and written: QEMU is told with every file, millraced once.
        `default` leaves it to the program: threads in QEMU, io_uring in millraced where it can be.
        """
        self.folder = pathlib.Path(folder)
        self.aio, self.cache = aio, cache
        self.socket = str(self.folder / 'nbd.sock')
        monitor = self.folder / 'qmp.sock'
        for old in (monitor, pathlib.Path(self.socket)):
            old.unlink(missing_ok=True)
        self.log = open(self.folder / 'daemon.log', 'wb')
        self.process = subprocess.Popen(
            [program, '--chardev', f'socket,id=qmp,path={monitor},server=on,wait=off',
             '--monitor', 'chardev=qmp', *_backend_options(program, aio)],
            stdout=self.log, stderr=self.log)
        try:
            self._wait_for(monitor)
            self.qmp = connect(monitor)
        except BaseException:
            self._end()
            raise

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None and self.process.poll() is None:
                self.qmp.execute('quit')
                self.process.wait(60)
        except Exception:  # a broken run is told by what broke it
            pass
        finally:
            self._end()
            self.qmp.close()

    def _wait_for(self, monitor, most_s=60):
        deadline = time.monotonic() + most_s
        while not monitor.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f'{self.process.args[0]} does not listen, exit status '
                                   f'{self.process.poll()}: {self.says()}')
            time.sleep(0.002)

    def _end(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.log.close()

    def says(self):
        """The last words of its log."""
        return (self.folder / 'daemon.log').read_bytes()[-500:].decode(errors='replace').strip()

    def add(self, name, path, backing=''):
        """A qcow2 node. `backing`: a node's name, None for none, '' as the header says."""
        file = {'driver': 'file', 'node-name': f'{name}-file', 'filename': str(path),
                'cache': {'direct': self.cache == 'direct'}}
        if self.aio != 'default':
            file['aio'] = self.aio
        more = {} if backing == '' else {'backing': backing}
        self.qmp.command('blockdev-add', driver='qcow2', node_name=name, file=file, **more)

    def export(self, node, writable=True):
        self.qmp.command('nbd-server-start', addr={'type': 'unix', 'data': {'path': self.socket}})
        reply = self.qmp.execute('block-export-add', {
            'type': 'nbd', 'id': 'export', 'node-name': node, 'name': 'disk', 'writable': writable})
        if 'error' in reply:
            raise RuntimeError(f'block-export-add: {reply["error"]}')
        return f'nbd+unix:///disk?socket={self.socket}'

    def start_jobs(self, commands):
        """Starts jobs, [(command, arguments)] with job_id; their names."""
        for name, arguments in commands:
            self.qmp.command(name, **arguments)
        return {arguments['job_id'] for _, arguments in commands}

    def next_event(self, waiting, deadline):
        """(job, event) of the next thing that one of these jobs says."""
        left = max(deadline - time.monotonic(), 0.001)
        try:
            event = self.qmp.wait_event_that(
                lambda e: e.get('event') in _OF_JOBS and e['data'].get('device') in waiting,
                timeout=left, what='the end of a job')
        except QmpTimeout as error:
            raise JobTimeout(f'not over in time: {", ".join(sorted(waiting)[:3])}') from error
        job, kind = event['data']['device'], event['event']
        wrong = event['data'].get('error')
        if wrong or kind in ('BLOCK_JOB_CANCELLED', 'BLOCK_JOB_ERROR'):
            raise RuntimeError(f'{job}: {wrong or kind}')
        return job, kind

    def run_jobs(self, commands, most_s=600):
        """Starts jobs and completes what becomes ready; seconds until all of them are over."""
        started = time.monotonic()
        self.finish_jobs(self.start_jobs(commands), most_s)
        return time.monotonic() - started

    def finish_jobs(self, waiting, most_s=600):
        waiting, deadline = set(waiting), time.monotonic() + most_s
        while waiting:
            job, kind = self.next_event(waiting, deadline)
            if kind == 'BLOCK_JOB_READY':
                self.qmp.command('block-job-complete', device=job)
            elif kind == 'BLOCK_JOB_COMPLETED':
                waiting.remove(job)

    def _stat(self):
        return pathlib.Path(f'/proc/{self.process.pid}/stat').read_text().rpartition(')')[2].split()

    def cpu_seconds(self):
        """User and system time of all threads so far."""
        user, system = self._stat()[11:13]
        return (int(user) + int(system)) / _TICK

    def minor_faults(self):
        """Pages of memory that were new to it so far: each costs as much as writing it to a disk."""
        return int(self._stat()[7])

    def memory_kb(self):
        """What is resident."""
        pages = int(pathlib.Path(f'/proc/{self.process.pid}/statm').read_text().split()[1])
        return pages * os.sysconf('SC_PAGE_SIZE') / 1024
