#!/usr/bin/env python3
"""Sums the ledger per campaign, since its last failure.

    summary.py [LEDGER] [--since COMMIT]

With --since only slices count that ran a commit which contains COMMIT. What ran a commit that the
repository does not hold cannot be told, is left out, and said. The tree is the one this file is in.
"""

import argparse
import pathlib
import subprocess
import sys

import ledger

HERE = pathlib.Path(__file__).resolve().parent
CONTAINS, DOES_NOT = 0, 1  # exit statuses of git merge-base --is-ancestor


def git(*words):
    """(exit status, what it said)"""
    done = subprocess.run(['git', *words], cwd=HERE, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.strip()


def split(entries, since, run_git=git):
    """(entries at commits that contain `since`, {commit that is unknown: its number of entries})

    A slice of a tree with changes (…-dirty) is one of its commit.
    """
    answers, kept, unknown = {}, [], {}
    for entry in entries:
        commit = entry['commit'].removesuffix('-dirty')
        if commit not in answers:
            answers[commit], _ = run_git('merge-base', '--is-ancestor', since, commit)
        if answers[commit] == CONTAINS:
            kept.append(entry)
        elif answers[commit] != DOES_NOT:
            unknown[commit] = unknown.get(commit, 0) + 1
    return kept, unknown


def lines(entries):
    """What there is to say of each campaign."""
    for campaign, total in sorted(ledger.sums(entries).items()):
        hours = total['seconds'] / 3600
        counts = ', '.join(f'{count:,} {name}' for name, count in sorted(total['counts'].items())
                           if not name.startswith('site '))
        since = f', since the failure of {total["last_failure"]}' if total['last_failure'] else ''
        yield (f'{campaign}: {hours:.2f} h in {total["slices"]} slices, {total["seeds"]:,} seeds'
               f'{": " + counts if counts else ""}{since}')


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('ledger', nargs='?', type=pathlib.Path, default=HERE / 'ledger.jsonl')
    parser.add_argument('--since', metavar='COMMIT', help='only slices that ran what contains it')
    options = parser.parse_args()
    entries, unknown = ledger.read(options.ledger), {}
    if options.since:
        status, since = git('rev-parse', '--verify', '--quiet', f'{options.since}^{{commit}}')
        if status:
            parser.error(f'the repository holds no commit {options.since}')
        entries, unknown = split(entries, since)
    for line in lines(entries):
        print(line)
    if not entries:
        print(f'no slice ran a commit that contains {options.since}' if options.since
              else 'the ledger is empty')
    if unknown:
        print(f'left out: {sum(unknown.values())} slices of {len(unknown)} commits that the '
              f'repository does not hold: {", ".join(unknown)}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
