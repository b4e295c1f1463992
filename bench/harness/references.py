"""What the same bytes cost without any daemon: `limit`, what the disk gives to a copy that never
waits, and `cp`. They run in the rotation of the programs that are measured."""

import json
import os
import pathlib
import resource
import subprocess
import time

from harness import images

NAMES = ('limit', 'cp')


class Flat:
    """A file of so many bytes, to be copied."""

    def __init__(self, folder, size, cache, limit_copy):
        self._source = pathlib.Path(folder) / 'flat'
        self._target = pathlib.Path(folder) / 'flat.copy'
        self._size, self._cache, self._limit_copy = size, cache, limit_copy

    def run(self, name):
        self._prepare()
        seconds, cpu = {'limit': self._limit, 'cp': self._cp}[name]()
        begun = time.monotonic()
        with open(self._target, 'rb') as target:
            os.fsync(target.fileno())
        synced = seconds + time.monotonic() - begun
        if self._target.stat().st_size != self._size:
            raise RuntimeError(f'{name} copied {self._target.stat().st_size} of {self._size} bytes')
        self._target.unlink()
        return {'seconds': seconds, 'mb_s': self._size / 1e6 / seconds,
                'durable_mb_s': self._size / 1e6 / synced,
                'cpu_s_per_gb': cpu / (self._size / 1e9)}

    def _prepare(self):
        if not self._source.exists():
            images.make_flat(self._source, self._size)
        self._target.unlink(missing_ok=True)
        (images.forget if self._cache == 'direct' else images.warm)(self._source)

    def _limit(self):
        """16 requests of 1 MiB past the page cache, as the jobs go; 4 through it."""
        how = ['--requests', '16'] if self._cache == 'direct' else ['--requests', '4', '--buffered']
        told = json.loads(_run([self._limit_copy, *how, self._source, self._target]))
        return told['seconds'], told['cpu_seconds']

    def _cp(self):
        before, begun = _children_cpu(), time.monotonic()
        _run(['cp', '--reflink=never', self._source, self._target])
        return time.monotonic() - begun, _children_cpu() - before


def _children_cpu():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _run(words):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f'{words[0]}: {done.stderr.strip()}')
    return done.stdout


def find_limit_copy(program):
    """limit_copy of the build that `program`, a millraced, is of, or of the release build."""
    folders = [pathlib.Path(__file__).resolve().parents[2] / 'build/release/bench']
    if len(pathlib.Path(program).resolve().parents) > 2:
        folders.insert(0, pathlib.Path(program).resolve().parents[2] / 'bench')
    return next((folder / 'limit_copy' for folder in folders if (folder / 'limit_copy').exists()),
                None)
