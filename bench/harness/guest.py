"""A guest on the NBD export: fio with its nbd engine, every request logged with its time."""

import json
import pathlib
import shutil
import signal
import statistics
import subprocess
import time

PATTERNS = ('randread', 'randwrite')


def missing():
    """Why no guest can be measured here; empty if one can."""
    if not shutil.which('fio'):
        return 'fio is not installed (Debian: fio)'
    shown = subprocess.run(['fio', '--enghelp'], capture_output=True, text=True, check=False).stdout
    return '' if 'nbd' in shown.split() else 'this fio has no nbd engine'


def percentile(values, share):
    """Of sorted values."""
    return values[min(len(values) - 1, int(len(values) * share))] if values else 0.0


class Guest:
    """Random requests until stop(); then what happened in any window of time."""

    PATTERN = 0xa7  # every byte that it writes

    def __init__(self, uri, folder, depth, operation='randread', block='4k', size='512M'):
        self.folder = pathlib.Path(folder)
        self.log = self.folder / 'guest'
        self._begun = self.folder / 'begun'
        for old in (self._begun, *self.folder.glob('guest_*.log')):
            old.unlink(missing_ok=True)
        # As a thread: a process of the job's own would outlive kill().
        self.process = subprocess.Popen(
            ['fio', '--name=guest', '--thread', '--ioengine=nbd', f'--uri={uri}', f'--rw={operation}',
             f'--bs={block}', f'--iodepth={depth}', '--time_based', '--runtime=600', f'--size={size}',
             '--randrepeat=1', '--norandommap', '--randseed=7', f'--write_lat_log={self.log}',
             '--log_avg_msec=0', '--log_unix_epoch=1', '--log_offset=1',
             f'--buffer_pattern=0x{self.PATTERN:x}', '--exec_prerun=touch begun',
             '--output-format=json', f'--output={self.folder / "fio.json"}'],
            cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.requests = []  # (when it was done in seconds since the epoch, latency in ms)
        self.written = set()  # offsets of writes that were answered

    def wait_until_begun(self, most_s=60):
        """Until its first request: a busy machine takes its time to start a program."""
        deadline = time.monotonic() + most_s
        while not self._begun.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f'fio did not begin: {self.process.stderr.read()}')
            time.sleep(0.01)

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        _, errors = self.process.communicate(timeout=60)
        logs = sorted(self.folder.glob('guest_clat*.log'))
        if not logs:
            raise RuntimeError(f'fio measured nothing: {errors}')
        for log in logs:
            for line in log.read_text().splitlines():
                when, latency, direction, _, offset = line.split(',')[:5]
                self.requests.append((int(when) / 1000, int(latency) / 1e6))
                if int(direction) == 1:
                    self.written.add(int(offset))
        self.requests.sort()
        text = (self.folder / 'fio.json').read_text()
        told = json.loads(text[text.index('{'):])['jobs'][0]  # it says first that it was ended
        if told.get('error'):
            raise RuntimeError(f'fio met error {told["error"]}')

    def kill(self):
        """Where what it measured does not matter any more."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def between(self, start, end):
        """Requests that were done in this window of time.time()."""
        latencies = sorted(latency for when, latency in self.requests if start <= when < end)
        seconds = max(end - start, 1e-9)
        return {'iops': len(latencies) / seconds,
                **{f'p{name}_ms': percentile(latencies, share) for name, share in
                   (('50', 0.5), ('99', 0.99), ('999', 0.999))},
                'max_ms': latencies[-1] if latencies else seconds * 1000}

    def stall_around(self, moment, before=0.05, after=0.25):
        """The longest request that was under way near a moment, in ms."""
        return self.longest_in(moment - before, moment + after)

    def longest_in(self, start, end):
        """The longest request that was under way in a window of time.time(), in ms."""
        return max((latency for when, latency in self.requests
                    if when >= start and when - latency / 1000 <= end), default=0.0)

    def usual_stall(self, start, end, window=0.3):
        """The longest request in a window of this length when nothing happens: their median."""
        count = max(1, int((end - start) / window))
        return statistics.median(self.longest_in(start + index * window, start + (index + 1) * window)
                                 for index in range(count))
