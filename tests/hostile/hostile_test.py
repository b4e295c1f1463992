#!/usr/bin/env python3
"""Hostile qcow2 images against `millrace`, with qemu-img as the judge.

    hostile_test.py --tool MILLRACE [--daemon MILLRACED] [--every N [--slice K]] [--only TEXT]
                    [--report FILE]

For each image of mutations.py, or one in N, those of slice K (slices 0 to N-1 are all of them): `info`, `map`, `check`, `stream --dry-run` and, on a
copy, `check --repair all`. None may crash, trip a sanitizer or a check, take longer or more memory
than allowed; the first four never change the file; an error is one line that can be printed. Then
the answers are compared with QEMU's: does it open, is the map the same, does the check come to the
same verdict. With a daemon, that opens a copy, and reads and writes it as a guest would.
Differences must be on the list of differences.py, which says why.
"""

import argparse
import collections
import hashlib
import json
import os
import pathlib
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import zlib

import daemon
import differences
import golden
import mutations

SECONDS_MAX = 60
QEMU_SECONDS_MAX = 180  # it is not QEMU that is tested
ADDRESS_SPACE_MAX = 4 << 30  # where no sanitizer wants more
SANITIZERS = {'ASAN_OPTIONS': 'exitcode=99:allocator_may_return_null=1:hard_rss_limit_mb=2048',
              'UBSAN_OPTIONS': 'halt_on_error=1:exitcode=99'}
BAD_WORDS = re.compile(r'AddressSanitizer|LeakSanitizer|runtime error|check failed|CHECK|terminate')
ALLOWED_EXITS = {'info': (0, 1), 'map': (0, 1), 'check': (0, 1, 3, 4), 'repair': (0, 1, 3, 4),
                 'stream': (0, 1, 5)}


class Answer(collections.namedtuple('Answer', 'status output errors')):
    def json(self):
        try:
            return json.loads(self.output)
        except ValueError:
            return None


def run(command, folder, limits_memory=False, seconds_max=SECONDS_MAX):
    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_MAX, ADDRESS_SPACE_MAX))

    try:
        result = subprocess.run(command, cwd=folder, capture_output=True, timeout=seconds_max,
                                env={**os.environ, **SANITIZERS}, check=False,
                                preexec_fn=limit if limits_memory else None)
    except subprocess.TimeoutExpired:
        return Answer('timeout', '', '')
    return Answer(result.returncode, result.stdout.decode(errors='replace'),
                  result.stderr.decode(errors='replace'))


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Tester:
    def __init__(self, tool, daemon_program, folder):
        self.tool = tool
        self.daemon_program = daemon_program
        self.daemon = None
        self.folder = pathlib.Path(folder)
        self.limits_memory = b'__asan_init' not in pathlib.Path(tool).read_bytes()
        self.complaints = []
        self.differences = collections.Counter()
        self.examples = {}

    def complain(self, image, text):
        self.complaints.append(f'{image}: {text}')

    def differ(self, image, kind, detail):
        reason = differences.reason(image, kind, detail) or 'UNEXPLAINED'
        self.differences[kind, reason] += 1
        self.examples.setdefault((kind, reason), f'{image}: {detail}')
        if reason == 'UNEXPLAINED':
            self.complain(image, f'differs from QEMU, {kind}: {detail}')

    def millrace(self, image, verb, *arguments):
        answer = run([self.tool, *arguments], self.folder, self.limits_memory)
        name = ' '.join(arguments[:-1])
        if answer.status not in ALLOWED_EXITS[verb] or BAD_WORDS.search(answer.errors):
            self.complain(image, f'{name}: status {answer.status}: {answer.errors[-600:]}')
        if answer.status == 1:
            text = answer.errors.strip()
            if not text or len(text) > 4000 or re.search(r'[\x00-\x09\x0b-\x1f\x7f]', text):
                self.complain(image, f'{name}: not an error to print: {text[:200]!r}')
        return answer

    def test(self, image, content):
        path = self.folder / 'hostile.qcow2'
        path.write_bytes(content)
        before = digest(path)
        info = self.millrace(image, 'info', 'info', '--json', '--format', 'qcow2', path.name)
        mapped = self.millrace(image, 'map', 'map', '--json', '--like-qemu', '--format', 'qcow2',
                               path.name)
        check = self.millrace(image, 'check', 'check', '--json', '--format', 'qcow2', path.name)
        self.millrace(image, 'stream', 'stream', '--dry-run', '--like-qemu', '--format', 'qcow2',
                      path.name)
        if digest(path) != before:
            self.complain(image, 'a command that only reads has written')
        self.compare(image, path, info, mapped, check)
        self.repair(image, path)
        self.use(image, path)

    def use(self, image, path):
        if self.daemon_program is None:
            return
        if self.daemon is None:
            self.daemon = daemon.Daemon(self.daemon_program, {**os.environ, **SANITIZERS})
        copy = path.with_name('used.qcow2')
        shutil.copyfile(path, copy)
        if complaint := self.daemon.use(copy):
            self.complain(image, f'millraced: {complaint}')
            if self.daemon.process.poll() is not None:
                self.close()

    def close(self):
        if self.daemon is not None and (complaint := self.daemon.close()):
            self.complain('the end', f'millraced: {complaint}')
        self.daemon = None

    def repair(self, image, path):
        copy = path.with_name('repaired.qcow2')
        shutil.copyfile(path, copy)
        arguments = ('--json', '--format', 'qcow2', copy.name)
        repaired = self.millrace(image, 'repair', 'check', '--repair', 'all', *arguments)
        if repaired.status == 0:
            again = self.millrace(image, 'check', 'check', *arguments)
            if again.status != 0:
                self.complain(image, f'repaired, but then: {again.output[:400]}')

    def qemu(self, image, verb, path):
        """What qemu-img answers; None, and it is noted, if that takes too long."""
        answer = run(['qemu-img', verb, '-f', 'qcow2', '--output=json', path.name], self.folder,
                     seconds_max=QEMU_SECONDS_MAX)
        if answer.status != 'timeout':
            return answer
        self.differ(image, 'QEMU does not answer', verb)
        return None

    def compare(self, image, path, info, mapped, check):
        if theirs := self.qemu(image, 'map', path):
            self.compare_map(image, mapped, theirs)
        if theirs := self.qemu(image, 'check', path):
            self.compare_check(image, check, theirs)
        theirs = self.qemu(image, 'info', path)
        if theirs and info.status == 1 and theirs.status == 0:
            self.differ(image, 'info refused', info.errors.strip())

    def compare_map(self, image, mapped, theirs):
        self.compare_open(image, 'map', mapped, theirs)
        if mapped.status == 0 and theirs.status == 0:
            ours, other = runs(mapped.json()), runs(theirs.json())
            if ours != other:
                self.differ(image, 'map', first_difference(ours, other))

    def compare_open(self, image, verb, ours, theirs):
        if ours.status == 0 and theirs.status != 0:
            self.differ(image, f'{verb} accepted', theirs.errors.strip())
        elif ours.status == 1 and theirs.status == 0:
            self.differ(image, f'{verb} refused', ours.errors.strip())

    def compare_check(self, image, ours, theirs):
        mine = ours.json() if ours.status in (0, 3, 4) else None
        other = theirs.json()
        if mine is None or other is None:
            if mine is None and other is not None:
                self.differ(image, 'check refused', ours.errors.strip())
            elif other is None and mine is not None:
                self.differ(image, 'check accepted', theirs.errors.strip())
            return
        counts = [[result.get(key, 0) for key in ('corruptions', 'leaks', 'check-errors')]
                  for result in (mine, other)]
        verdicts = [verdict(*each) for each in counts]
        if verdicts[0] != verdicts[1]:
            self.differ(image, f'check says {verdicts[0]}, QEMU {verdicts[1]}',
                        f'{mine.get("findings", [])[:3]}')
        elif counts[0] != counts[1]:
            self.differ(image, f'check counts {verdicts[0]}',
                        f'{counts[0]}, QEMU {counts[1]} {mine.get("findings", [])[:3]}')


def verdict(corruptions, leaks, errors):
    return 'corrupt' if corruptions + errors else 'leaks' if leaks else 'clean'


def runs(extents):
    """The map as runs of what a reader sees: neighbours that differ in nothing are one."""
    result = []
    for extent in extents:
        data = extent['data']
        entry = [extent['start'], extent['length'], extent['depth'], extent['zero'], data,
                 extent.get('offset') if data else None]
        last = result[-1] if result else None
        if last and last[2:5] == entry[2:5] and (
                entry[5] is None and last[5] is None or
                entry[5] is not None and last[5] is not None and last[5] + last[1] == entry[5]):
            last[1] += entry[1]
        else:
            result.append(entry)
    return result


def first_difference(ours, theirs):
    for mine, other in zip(ours, theirs):
        if mine != other:
            return f'{mine}, QEMU {other}'
    return f'{len(ours)} extents, QEMU {len(theirs)}'


def belongs(image, part, every):
    """Whether the image is one of the slice: the same ones in every run, of all classes."""
    return zlib.crc32(image.encode()) % every == part % every


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--tool', required=True)
    parser.add_argument('--daemon', type=os.path.abspath)
    parser.add_argument('--every', type=int, default=1)
    parser.add_argument('--slice', type=int, default=1)
    parser.add_argument('--only', default='')
    parser.add_argument('--report', type=pathlib.Path)
    options = parser.parse_args()
    if shutil.which('qemu-img') is None:
        print('qemu-img is not installed')
        return 77
    count = 0
    with tempfile.TemporaryDirectory() as folder:
        tester = Tester(os.path.abspath(options.tool), options.daemon, folder)
        for name in golden.GOLDEN:
            original = mutations.Image(golden.make(folder, name).read_bytes())
            every = options.every * (20 if len(original) > 4 << 20 else 1)
            for change, content in mutations.mutations(original):
                image = f'{name}/{change}'
                if options.only not in image or not belongs(image, options.slice, every):
                    continue
                tester.test(image, content)
                count += 1
        tester.close()
    lines = [f'{number:6} {kind}: {reason}; e.g. {tester.examples[kind, reason]}'
             for (kind, reason), number in sorted(tester.differences.items())]
    if options.report:
        options.report.write_text('\n'.join(lines + tester.complaints) + '\n', encoding='utf-8')
    print('\n'.join(lines))
    for complaint in tester.complaints[:40]:
        print('COMPLAINT', complaint)
    print(f'{count} images, {len(tester.complaints)} complaints')
    return 1 if tester.complaints or count == 0 else 0


if __name__ == '__main__':
    sys.exit(main())
