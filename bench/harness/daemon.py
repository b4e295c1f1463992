"""A storage daemon under measurement: millraced or qemu-storage-daemon, over QMP."""

import os
import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / 'examples/hypervisor/client'))
from qmp import QmpClient, QmpError  # noqa: E402,F401

_TICK = os.sysconf('SC_CLK_TCK')


def connect_client(path):
    return QmpClient.connect(path, timeout=600)


class Daemon:
    def __init__(self, program, folder, connect=connect_client):
        """`connect` makes the client, `qmp`, of the monitor's path: see wire.Wire for another."""
        self.folder = pathlib.Path(folder)
        self.socket = str(self.folder / 'nbd.sock')
        monitor = self.folder / 'qmp.sock'
        for old in (monitor, pathlib.Path(self.socket)):
            old.unlink(missing_ok=True)
        self.log = open(self.folder / 'daemon.log', 'wb')
        self.process = subprocess.Popen(
            [program, '--chardev', f'socket,id=qmp,path={monitor},server=on,wait=off',
             '--monitor', 'chardev=qmp'], stdout=self.log, stderr=self.log)
        self.qmp = connect(monitor)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            if self.process.poll() is None:
                self.qmp.execute('quit')
                self.process.wait(60)
        except Exception:  # a broken run is told by what broke it
            pass
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self.qmp.close()
            self.log.close()

    def add(self, name, path, backing=None, cache='direct', aio='threads'):
        more = {'backing': backing} if backing else {}
        self.qmp.command('blockdev-add', driver='qcow2', node_name=name, file={
            'driver': 'file', 'filename': str(path), 'aio': aio,
            'cache': {'direct': cache == 'direct'}}, **more)

    def export(self, node, writable=True):
        self.qmp.command('nbd-server-start', addr={'type': 'unix', 'data': {'path': self.socket}})
        self.qmp.execute('block-export-add', {'type': 'nbd', 'id': 'export', 'node-name': node,
                                              'name': 'disk', 'writable': writable})
        return f'nbd+unix:///disk?socket={self.socket}'

    def run_jobs(self, commands):
        """Starts jobs, [(command, arguments)] with job_id; seconds until all of them are over."""
        started = time.monotonic()
        for name, arguments in commands:
            self.qmp.command(name, **arguments)
        waiting = {arguments['job_id'] for _, arguments in commands}
        while waiting:
            event = self.qmp.wait_event_that(
                lambda e: e.get('event', '').startswith('BLOCK_JOB_') and
                e['data'].get('device') in waiting, timeout=3600, what='the end of a job')
            job, kind = event['data']['device'], event['event']
            if 'error' in event['data']:
                raise RuntimeError(f'{job}: {event["data"]["error"]}')
            if kind == 'BLOCK_JOB_READY':
                self.qmp.command('block-job-complete', device=job)
            elif kind == 'BLOCK_JOB_COMPLETED':
                waiting.remove(job)
        return time.monotonic() - started

    def cpu_seconds(self):
        """User and system time of all threads so far."""
        fields = pathlib.Path(f'/proc/{self.process.pid}/stat').read_text().rpartition(')')[2]
        user, system = fields.split()[11:13]
        return (int(user) + int(system)) / _TICK

    def memory_kb(self):
        """What is resident."""
        pages = int(pathlib.Path(f'/proc/{self.process.pid}/statm').read_text().split()[1])
        return pages * os.sysconf('SC_PAGE_SIZE') / 1024
