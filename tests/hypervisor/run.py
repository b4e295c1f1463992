#!/usr/bin/env python3
"""Runs the conformance cases against QEMU, against millraced, or against both with a table.

    run.py --backend qemu|millraced|both [--folder NAME] [-k PART]... [--every N] [-j N] [-v]
           [--json FILE] [--shrink]

MILLRACED names the daemon. What millraced cannot pass yet stands in expected_failures.txt with the
reason; a case listed there that passes makes the run fail, so that the list shrinks: --shrink takes
such cases out of it. Against QEMU
nothing may fail, save what the list marks with "qemu:" (a defect of QEMU that Millrace avoids).
Exit status: 0 as expected, 1 not, 77 the program is not there (ctest shows that as skipped).
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
SKIPPED = 77


def cases(suite):
    for one in suite:
        if isinstance(one, unittest.TestSuite):
            yield from cases(one)
        else:
            yield one


def name_of(case):
    return '.'.join(case.id().split('.')[-3:]).replace('_test.', '.', 1)


def expected_failures(backend):
    """{case: reason} for one backend: lines "case  reason", or "qemu: case  reason"."""
    found = {}
    for line in (HERE / 'expected_failures.txt').read_text().splitlines():
        line = line.partition('#')[0].strip()
        if not line:
            continue
        owner = 'millraced'
        if line.startswith('qemu:'):
            owner, line = 'qemu', line[len('qemu:'):].strip()
        name, _, reason = line.partition(' ')
        if not reason.strip():
            raise SystemExit(f'expected_failures.txt: {name} has no reason')
        if owner == backend:
            found[name] = reason.strip()
    return found


def shrink(backend, passed):
    """Takes the lines of these cases out of the file."""
    path = HERE / 'expected_failures.txt'
    prefix = '' if backend == 'millraced' else f'{backend}: '
    gone = tuple(f'{prefix}{name} ' for name in passed)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(''.join(line for line in lines if not gone or not line.startswith(gone)))


def run_one(case):
    """(case name, verdict, text, seconds); verdict is pass, fail or skip."""
    result = unittest.TestResult()
    started = time.monotonic()
    case.run(result)
    took = time.monotonic() - started
    if result.errors or result.failures:
        return name_of(case), 'fail', ''.join(text for _, text in result.errors + result.failures), took
    if result.skipped:
        return name_of(case), 'skip', result.skipped[0][1], took
    return name_of(case), 'pass', '', took


def judge(name, verdict, expected):
    """What a verdict means where it was expected or not: ok, expected, skipped, FAILED, PASSED."""
    if verdict == 'skip':
        return 'skipped'
    if name in expected:
        return 'expected' if verdict == 'fail' else 'PASSED'
    return 'ok' if verdict == 'pass' else 'FAILED'


def run(options):
    os.environ['HYPERVISOR_BACKEND'] = options.backend
    sys.path.insert(0, str(HERE))
    from support import backend
    program = backend.find(options.backend)
    if program.missing:
        print(f'SKIPPED: {program.missing}')
        return SKIPPED
    folder = str(HERE / options.folder)
    found = list(cases(unittest.TestLoader().discover(folder, '*_test.py', folder)))
    known = {name_of(case) for case in found}
    # The list is of the cases that QEMU can be asked, too.
    expected = {} if options.folder else expected_failures(options.backend)
    known |= {f'differential.{path.stem}' for path in (HERE / 'scripts').glob('*.script')}
    strange = sorted(set(expected) - known)
    chosen = [case for case in found
              if not options.k or any(part in name_of(case) for part in options.k)][::options.every]
    told = {}
    with concurrent.futures.ThreadPoolExecutor(options.j) as pool:
        for name, verdict, text, took in pool.map(run_one, chosen):
            told[name] = {'verdict': verdict, 'judged': judge(name, verdict, expected),
                          'seconds': round(took, 2), 'text': text}
            if options.v or told[name]['judged'] not in ('ok', 'expected', 'skipped'):
                print(f'{told[name]["judged"]:9} {took:6.2f} s  {name}', flush=True)
            if options.v > 1 or told[name]['judged'] == 'FAILED':
                print(text, end='', flush=True)
            if told[name]['judged'] == 'PASSED':
                print('    passes, but expected_failures.txt says: ' + expected[name])
    for name in strange:
        print(f'expected_failures.txt: there is no case {name}')
    if options.shrink:
        shrink(options.backend, [name for name, one in told.items() if one['judged'] == 'PASSED'])
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(told, indent=1))
    counts = {}
    for one in told.values():
        counts[one['judged']] = counts.get(one['judged'], 0) + 1
    print(f'{options.backend}: {len(told)} cases: '
          + ', '.join(f'{count} {what}' for what, count in sorted(counts.items())))
    return 1 if strange or counts.get('FAILED') or counts.get('PASSED') or not told else 0


def run_both(options):
    """The table: case, what QEMU does, what millraced does."""
    statuses, told = [], {}
    for name in ('qemu', 'millraced'):
        with tempfile.NamedTemporaryFile('r') as verdicts:
            done = subprocess.run(
                [sys.executable, '-B', __file__, '--backend', name, '-j', str(options.j),
                 '--json', verdicts.name, *(f'-k{part}' for part in options.k)],
                stdout=subprocess.PIPE, text=True, check=False)
            statuses.append(done.returncode)
            told[name] = json.loads(verdicts.read() or '{}')
        # What failed, at length; else how many there were.
        print(done.stdout if done.returncode not in (0, SKIPPED) else done.stdout.splitlines()[-1])
    width = max(map(len, [*told['qemu'], *told['millraced'], 'case']))
    print(f'{"case":{width}}  {"QEMU":5} millraced')
    for name in sorted({**told['qemu'], **told['millraced']}):
        verdicts = [told[one].get(name, {}).get('verdict', '-') for one in ('qemu', 'millraced')]
        print(f'{name:{width}}  {verdicts[0]:5} {verdicts[1]}')
    failed = [status for status in statuses if status not in (0, SKIPPED)]
    return failed[0] if failed else max(statuses)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--backend', default='qemu')
    parser.add_argument('--folder', default='', help='cases of a folder beside this file')
    parser.add_argument('-k', action='append', default=[], help='only cases with this in the name')
    parser.add_argument('--every', type=int, default=1, help='only one of so many of the cases')
    parser.add_argument('-j', type=int, default=2, help='cases at a time')
    parser.add_argument('-v', action='count', default=0)
    parser.add_argument('--shrink', action='store_true',
                        help='take what passes out of expected_failures.txt')
    parser.add_argument('--json', help='write the verdicts there')
    options = parser.parse_args()
    return run_both(options) if options.backend == 'both' else run(options)


if __name__ == '__main__':
    sys.exit(main())
