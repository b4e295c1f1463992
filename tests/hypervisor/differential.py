#!/usr/bin/env python3
"""Runs scripts on QEMU and on millraced and prints each member of a reply that differs.

    differential.py [SCRIPT...]         scripts/*.script by default; MILLRACED names the daemon
    differential.py --show SCRIPT       what one program answers (--backend, by default qemu)
    differential.py --random N          N random scripts of jobs from --seed on; those that differ
                                        are written to --keep DIR

A script is described in support/script.py. Differences that are meant stand, with their reasons,
in allowed_differences.py. Scripts that millraced does not pass yet stand in expected_failures.txt
as "differential.NAME"; one that is listed and passes makes the run fail.
Exit status: 0 as expected, 1 not, 77 one of the programs is not there.
"""

import argparse
import concurrent.futures
import fnmatch
import json
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from allowed_differences import ALLOWED  # noqa: E402
from run import SKIPPED, expected_failures, judge  # noqa: E402
from support import backend  # noqa: E402
from support.machine import TIMEOUT  # noqa: E402
from support.random_script import RandomScript  # noqa: E402
from support.script import ScriptRun  # noqa: E402

MISSING = object()
QEMU_FAILED = 'the oracle failed'


def differences(one, other, path=''):
    """(path, value, other value) for each leaf in which two JSON values differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted({*one, *other}):
            yield from differences(one.get(key, MISSING), other.get(key, MISSING),
                                   f'{path}.{key}' if path else key)
    elif isinstance(one, list) and isinstance(other, list):
        for i in range(max(len(one), len(other))):
            yield from differences(one[i] if i < len(one) else MISSING,
                                   other[i] if i < len(other) else MISSING, f'{path}[{i}]')
    elif one is MISSING or other is MISSING or type(one) is not type(other) or one != other:
        yield path, one, other


def is_allowed(asked, path):
    command = asked[2:].partition(' ')[0] if asked.startswith('> ') else asked.partition(' ')[0]
    path = re.sub(r'^return\.?', '', path)
    return any(fnmatch.fnmatchcase(command, allowed) and fnmatch.fnmatchcase(path, pattern)
               for allowed, pattern, _ in ALLOWED)


def told(value):
    return 'absent' if value is MISSING else json.dumps(value)[:300]




def run_both(text, programs, timeout):
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda program: ScriptRun(text, program, timeout).run(), programs))


def unequal(answers, others):
    """[(line number, what was asked, path, value, other value)] of two transcripts."""
    return [(one[0], one[1], *difference) for one, other in zip(answers, others)
            for difference in differences(one[2], other[2])
            if not is_allowed(one[1], difference[0])]


def compare(name, text, programs, timeout=TIMEOUT, again=False):
    """The lines that tell how two programs differ on this script; empty if they agree.

    With `again` a second run of the first program says in what it does not even equal itself.
    """
    answers = run_both(text, programs, timeout)
    if answers[0] and isinstance(answers[0][-1][2], dict) and 'failed' in answers[0][-1][2]:
        return [f'{name}: {QEMU_FAILED}: {answers[0][-1][2]}']
    found = unequal(*answers)
    if found and again:
        second = ScriptRun(text, programs[0], timeout).run()
        unstable = {(number, path) for number, _, path, *_ in unequal(answers[0], second)}
        found = [one for one in found if (one[0], one[2]) not in unstable]
    lines = [f'{name}:{number}: {asked}\n    {path or "answer"}:'
             f'\n        {programs[0].name}: {told(value)}'
             f'\n        {programs[1].name}: {told(other)}'
             for number, asked, path, value, other in found]
    if len(answers[0]) != len(answers[1]):
        lines.append(f'{name}: {programs[0].name} gave {len(answers[0])} answers, '
                     f'{programs[1].name} {len(answers[1])}; the last of the shorter: '
                     f'{min(answers, key=len)[-1:]}')
    return lines


def show(path, program):
    for number, asked, answer in ScriptRun(path.read_text(), program, TIMEOUT).run():
        print(f'{number}: {asked}\n{json.dumps(answer, indent=1, sort_keys=True)}')


def run_random(options, programs):
    """Random scripts, in parallel. One during which QEMU itself fails proves nothing."""
    counts = {'same': 0, 'differ': 0, 'QEMU failed': 0}
    seeds = range(options.seed, options.seed + options.random)
    with concurrent.futures.ThreadPoolExecutor(options.j) as pool:
        for seed, lines in zip(seeds, pool.map(
                lambda seed: compare(f'seed {seed}', RandomScript(seed).text(), programs,
                                     again=True), seeds)):
            if any(QEMU_FAILED in line for line in lines):
                counts['QEMU failed'] += 1
                if options.v:
                    print(lines[0], flush=True)
                continue
            counts['differ' if lines else 'same'] += 1
            if lines:
                print(f'seed {seed}: {len(lines)} differences, the first:\n{lines[0]}', flush=True)
                if options.keep:
                    options.keep.mkdir(parents=True, exist_ok=True)
                    (options.keep / f'seed-{seed}.script').write_text(RandomScript(seed).text())
    print(f'{options.random} scripts: '
          + ', '.join(f'{count} {what}' for what, count in counts.items()))
    return 1 if counts['differ'] else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('scripts', nargs='*', type=pathlib.Path)
    parser.add_argument('--show', action='store_true')
    parser.add_argument('--backend', default='qemu')
    parser.add_argument('--against', default='millraced', help='the program beside QEMU')
    parser.add_argument('--random', type=int, metavar='N')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--keep', type=pathlib.Path, metavar='DIR')
    parser.add_argument('-j', type=int, default=2, help='random scripts at a time')
    parser.add_argument('--json', type=pathlib.Path, help='write the verdicts there')
    parser.add_argument('-v', action='store_true', help='show expected differences too')
    options = parser.parse_args()
    scripts = options.scripts or sorted((HERE / 'scripts').glob('*.script'))
    if options.show:
        show(scripts[0], backend.find(options.backend))
        return 0
    programs = [backend.find('qemu'), backend.find(options.against)]
    for program in programs:
        if program.missing:
            print(f'SKIPPED: {program.missing}')
            return SKIPPED
    if options.random:
        return run_random(options, programs)
    expected = expected_failures(options.against)
    counts, verdicts = {}, {}
    for path in scripts:
        name = f'differential.{path.stem}'
        lines = compare(path.name, path.read_text(), programs)
        judged = judge(name, 'fail' if lines else 'pass', expected)
        counts[judged] = counts.get(judged, 0) + 1
        verdicts[name] = 'fail' if lines else 'pass'
        if judged not in ('ok', 'expected') or (lines and options.v):
            print(f'{judged:9} {name}, {len(lines)} differences')
            print('\n'.join(lines))
    if options.json:
        options.json.write_text(json.dumps(verdicts, indent=1))
    print(f'{len(scripts)} scripts: '
          + ', '.join(f'{count} {what}' for what, count in sorted(counts.items())))
    return 1 if counts.get('FAILED') or counts.get('PASSED') else 0


if __name__ == '__main__':
    sys.exit(main())
