"""The ledger of the campaigns: one JSON object per line, one line per slice that was run.

    date      when the slice ended, UTC, to the second
    commit    what was run; "-dirty" is appended when the tree held other changes
    campaign  the program's name
    seed_from, seed_to   the seeds run, both included; seed_to is null after a crash without a trace
    counts    what was done, by name, as the program says; "slowest …" is a time, "first …" and
              "last …" are what was seen at the slice's beginning and end: these do not add up
    failures  findings; a crash counts as one
    seconds   how long it ran
    fixed     only in lines added by hand: which commit explains and mends the failures above

A failure stays a failure: the sums below start again after it.
"""

import json

SLOWEST = 'slowest '  # a count of this name is a time, of which the greatest is kept
SEEN = ('first ', 'last ')  # of a count of these names that of the latest slice is kept


def read(path):
    try:
        with open(path, encoding='utf-8') as file:
            return [json.loads(line) for line in file if line.strip()]
    except FileNotFoundError:
        return []


def append(path, entry):
    with open(path, 'a', encoding='utf-8') as file:
        file.write(json.dumps(entry) + '\n')


def next_seed(entries, campaign):
    """The first seed that no line of the campaign covers."""
    seeds = [entry['seed_to'] for entry in entries
             if entry['campaign'] == campaign and entry.get('seed_to') is not None]
    return max(seeds, default=0) + 1


def sums(entries):
    """{campaign: what was run since its last failure}."""
    result = {}
    for entry in entries:
        total = result.setdefault(entry['campaign'], _nothing())
        if entry['failures']:
            result[entry['campaign']] = _nothing(last_failure=entry['date'])
            continue
        total['slices'] += 1
        total['seconds'] += entry['seconds']
        total['seeds'] += entry['seed_to'] - entry['seed_from'] + 1
        for name, count in entry['counts'].items():
            total['counts'][name] = _added(name, total['counts'].get(name, 0), count)
    return result


def _added(name, before, count):
    if name.startswith(SLOWEST):
        return max(before, count)
    return count if name.startswith(SEEN) else before + count


def _nothing(last_failure=None):
    return {'slices': 0, 'seconds': 0, 'seeds': 0, 'counts': {}, 'last_failure': last_failure}
