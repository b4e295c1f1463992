#!/usr/bin/env python3
"""Runs scripts on QEMU and on millraced and prints each member of a reply that differs.

    differential.py [SCRIPT...]         scripts/*.script by default; MILLRACED names the daemon
    differential.py --show SCRIPT       what one program answers (--backend, by default qemu)

A script is described in support/script.py. Differences that are meant stand, with their reasons,
in allowed_differences.py. Scripts that millraced does not pass yet stand in expected_failures.txt
as "differential.NAME", with the lines and paths in which they may differ; one that is listed and
passes makes the run fail.
Exit status: 0 as expected, 1 not, 77 one of the programs is not there.
"""

import argparse
import concurrent.futures
import dataclasses
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
from support.script import ScriptRun  # noqa: E402

MISSING = object()
QEMU_FAILED = 'the oracle failed'


def differences(one, other, path=''):
    """(path, value, other value) for each leaf in which two JSON values differ, and for each object
    whose members, those that both have, come in another order."""
    if isinstance(one, dict) and isinstance(other, dict):
        orders = [key for key in one if key in other], [key for key in other if key in one]
        if orders[0] != orders[1]:
            yield f'{path}.(order)' if path else '(order)', *orders
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


def is_expected(comparison, reason):
    """Whether all in which it differs stands in the places that a line of expected_failures.txt
    names: "LINE:PATH,LINE:PATH  reason". That a program dies is never expected."""
    if comparison.failure or comparison.is_short:
        return False
    places = [place.split(':', 1) for place in reason.split()[0].split(',')]
    return all(any(number == int(line) and fnmatch.fnmatchcase(path, pattern)
                   for line, pattern in places) for number, _, path, *_ in comparison.found)


def told(value):
    return 'absent' if value is MISSING else json.dumps(value)[:300]


def run_both(text, programs, timeout, **images):
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda program: ScriptRun(text, program, timeout, **images).run(),
                             programs))


def unequal(answers, others):
    """[(line number, what was asked, path, value, other value)] of two transcripts."""
    return [(one[0], one[1], *difference) for one, other in zip(answers, others)
            for difference in differences(one[2], other[2])
            if not is_allowed(one[1], difference[0])]


@dataclasses.dataclass
class Comparison:
    """What two programs answered to one script, and in what they differ."""

    name: str
    programs: list
    answers: list
    found: list  # as unequal() tells it

    @property
    def failure(self):
        """What the first program, the oracle, died of or could not do in time."""
        last = self.answers[0][-1][2] if self.answers[0] else {}
        return last if isinstance(last, dict) and 'failed' in last else None

    @property
    def is_short(self):
        """The other program did not come as far."""
        return len(self.answers[0]) != len(self.answers[1])

    def lines(self):
        """Told for people; empty if the programs agree."""
        if self.failure:
            return [f'{self.name}: {QEMU_FAILED}: {self.failure}']
        one, other = self.programs
        lines = [f'{self.name}:{number}: {asked}\n    {path or "answer"}:'
                 f'\n        {one.name}: {told(value)}\n        {other.name}: {told(its)}'
                 for number, asked, path, value, its in self.found]
        if self.is_short:
            lines.append(f'{self.name}: {one.name} gave {len(self.answers[0])} answers, '
                         f'{other.name} {len(self.answers[1])}; the last of the shorter: '
                         f'{min(self.answers, key=len)[-1:]}')
        return lines


def compare(name, text, programs, timeout=TIMEOUT, again=False, **images):
    """Runs a script on both. With `again` a second run of the first program says in what it does
    not even equal itself: that is left out. `images` are options of ScriptRun.
    """
    answers = run_both(text, programs, timeout, **images)
    found = unequal(*answers)
    if found and again:
        second = ScriptRun(text, programs[0], timeout, **images).run()
        unstable = {(number, path) for number, _, path, *_ in unequal(answers[0], second)}
        found = [one for one in found if (one[0], one[2]) not in unstable]
    return Comparison(name, programs, answers, found)


def show(path, program):
    for number, asked, answer in ScriptRun(path.read_text(), program, TIMEOUT).run():
        print(f'{number}: {asked}\n{json.dumps(answer, indent=1, sort_keys=True)}')


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('scripts', nargs='*', type=pathlib.Path)
    parser.add_argument('--show', action='store_true')
    parser.add_argument('--backend', default='qemu')
    parser.add_argument('--against', default='millraced', help='the program beside QEMU')
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
    expected = expected_failures(options.against)
    counts, verdicts = {}, {}
    for path in scripts:
        name = f'differential.{path.stem}'
        comparison = compare(path.name, path.read_text(), programs)
        lines = comparison.lines()
        judged = judge(name, 'fail' if lines else 'pass', expected)
        if judged == 'expected' and not is_expected(comparison, expected[name]):
            judged = 'FAILED'
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
