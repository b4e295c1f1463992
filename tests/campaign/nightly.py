#!/usr/bin/env python3
"""Runs campaign programs in slices and keeps the ledger: what tests/nightly.sh calls.

    nightly.py --minutes N [--slice SECONDS] [--only NAME,...] FOLDER...
    nightly.py --iterations N --only NAME FOLDER...

Every executable in the FOLDERs is a campaign: tests/campaign/campaign.h says how it is called. One
in a folder called "fuzzers" is a libFuzzer target and runs through fuzz_slice.py. A FOLDER may be
the tool `millrace` instead: hostile_slice.py shows it the hostile images. Each slice goes
to the campaign that has run least so far; a line is appended to the ledger after each. A campaign
that counts iterations (soak) is run by the second form as one slice of so many, however long it takes.
"""

import argparse
import datetime
import json
import os
import pathlib
import subprocess
import sys
import time

import ledger

HERE = pathlib.Path(__file__).resolve().parent
LEDGER = HERE / 'ledger.jsonl'
SKIPPED = 77  # a program's exit status


def campaigns(folders):
    """{name: command} of every program in the folders."""
    found = {}
    for folder in map(pathlib.Path, folders):
        if folder.is_file():
            found['hostile_images'] = [sys.executable, '-B', str(HERE / 'hostile_slice.py'),
                                       str(folder.resolve())]
        for program in sorted(folder.glob('*')) if folder.is_dir() else ():
            if not (program.is_file() and os.access(program, os.X_OK)):
                continue
            if folder.name == 'fuzzers':
                found['fuzz_' + program.name] = [sys.executable, '-B', str(HERE / 'fuzz_slice.py'),
                                                 str(program.resolve())]
            else:
                found[program.name] = [str(program.resolve())]
    return found


def least_run(names, entries):
    """The campaign with the fewest seconds in the ledger; of equals the first."""
    seconds = {name: 0 for name in names}
    for entry in entries:
        if entry['campaign'] in seconds:
            seconds[entry['campaign']] += entry['seconds']
    return min(names, key=lambda name: (seconds[name], name))


def commit():
    def git(*arguments):
        return subprocess.run(['git', *arguments], cwd=HERE, capture_output=True, text=True,
                              check=False).stdout.strip()
    dirty = git('status', '--porcelain', '--', ':/', f':!{LEDGER.name}')
    return git('rev-parse', '--short=12', 'HEAD') + ('-dirty' if dirty else '')


def run_slice(command, name, length, seed, log_folder):
    """Runs one slice and returns its ledger line. What the program said is kept if it failed.

    `length` is {'seconds': S} or {'iterations': N}, as the program is told.
    None if the program could not be run here: something that it needs is not installed.
    """
    log_folder.mkdir(parents=True, exist_ok=True)
    log = log_folder / f'{name}-{seed}.log'
    seed_file = log_folder / f'{name}.seed'
    seed_file.unlink(missing_ok=True)
    start = time.monotonic()
    with open(log, 'w', encoding='utf-8') as stderr:
        result = subprocess.run(
            [*command, *(word for name, value in length.items() for word in (f'--{name}', str(value))),
             '--seed-start', str(seed)],
            stdout=subprocess.PIPE, stderr=stderr, text=True, check=False,
            env={**os.environ, 'MILLRACE_CAMPAIGN_SEED_FILE': str(seed_file)})
    entry = {'date': datetime.datetime.now(datetime.timezone.utc).strftime('%Y-%m-%dT%H:%M:%SZ'),
             'commit': commit(), 'campaign': name, 'seed_from': seed, 'seed_to': None,
             'counts': {}, 'failures': 0, 'seconds': round(time.monotonic() - start)}
    try:
        said = json.loads(result.stdout.strip().splitlines()[-1])
        entry.update({key: said[key] for key in ('seed_from', 'seed_to', 'counts', 'failures')})
    except (IndexError, ValueError, KeyError, TypeError):
        entry['failures'] = 1
        if seed_file.exists():
            entry['seed_to'] = int(seed_file.read_text(encoding='utf-8') or seed)
    if result.returncode == SKIPPED:
        log.unlink()
        return None
    if result.returncode != 0:
        entry['failures'] = max(entry['failures'], 1)
    seed_file.unlink(missing_ok=True)
    if entry['failures']:
        print(f'{name}: exit status {result.returncode}; its words are in {log}', file=sys.stderr)
    else:
        log.unlink()
    return entry


def read_options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument('--minutes', type=float)
    length.add_argument('--iterations', type=int, help='one slice of so many; --only names whose')
    parser.add_argument('--slice', type=int, default=120, help='seconds per slice')
    parser.add_argument('--only', help='names of campaigns, separated by commas')
    parser.add_argument('--log-folder', type=pathlib.Path, default=pathlib.Path('build/nightly'))
    parser.add_argument('folders', nargs='+')
    options = parser.parse_args()
    options.programs = campaigns(options.folders)
    if options.only:
        wanted = options.only.split(',')
        if unknown := [name for name in wanted if name not in options.programs]:
            parser.error(f'no campaign is called {", ".join(unknown)}; there are: '
                         f'{", ".join(sorted(options.programs))}')
        options.programs = {name: options.programs[name] for name in wanted}
    if options.iterations and not (options.only and len(options.programs) == 1):
        parser.error('--iterations is for one campaign: name it by --only')
    return options


def keep(entry):
    """Appends it to the ledger and shows it; returns how many failures it tells."""
    ledger.append(LEDGER, entry)
    print(json.dumps(entry), flush=True)
    return entry['failures']


def run_iterations(name, command, options):
    """One slice; the exit status."""
    entry = run_slice(command, name, {'iterations': options.iterations},
                      ledger.next_seed(ledger.read(LEDGER), name), options.log_folder)
    if entry is None:
        print(f'{name}: skipped, something that it needs is missing', file=sys.stderr)
        return 0
    return 1 if keep(entry) else 0


def main():
    options = read_options()
    programs = options.programs
    if not programs:
        print('no campaign programs were built', file=sys.stderr)
        return 1
    if options.iterations:
        return run_iterations(*programs.popitem(), options)
    end = time.monotonic() + 60 * options.minutes
    failures = 0
    while (left := end - time.monotonic()) >= 1:
        entries = ledger.read(LEDGER)
        name = least_run(list(programs), entries)
        entry = run_slice(programs[name], name, {'seconds': round(min(options.slice, left))},
                          ledger.next_seed(entries, name), options.log_folder)
        if entry is None:
            print(f'{name}: skipped, something that it needs is missing', file=sys.stderr)
            del programs[name]
            if not programs:
                break
            continue
        failures += keep(entry)
        if entry['failures']:
            del programs[name]  # until somebody has looked at it
            if not programs:
                break
    return 1 if failures else 0


if __name__ == '__main__':
    sys.exit(main())
