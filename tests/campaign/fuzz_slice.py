#!/usr/bin/env python3
"""Runs a libFuzzer target for a while, as a campaign program (tests/campaign/campaign.h).

    fuzz_slice.py FUZZER --seconds S --seed-start N

The corpus that grows is kept beside the fuzzer; it starts from tests/fuzz/corpus/<name>. One slice
is one seed. A finding leaves its input beside the corpus. Memory out of proportion is one: inputs
are of 1 MiB at most, so no single piece of memory has a reason to reach MALLOC_MIB_MAX.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys

MALLOC_MIB_MAX = 64
# Wall clock: a slice at a low priority on a busy machine may not run for half a minute. What takes
# an input for ever takes two minutes as well.
UNIT_SECONDS_MAX = 120
RSS_MIB_MAX = 2048  # with the corpus and what the sanitizer keeps


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('fuzzer', type=pathlib.Path)
    parser.add_argument('--seconds', type=int, required=True)
    parser.add_argument('--seed-start', type=int, required=True)
    options = parser.parse_args()

    name = options.fuzzer.name
    grown = options.fuzzer.parent / 'corpus' / name
    findings = options.fuzzer.parent / 'findings' / name
    grown.mkdir(parents=True, exist_ok=True)
    findings.mkdir(parents=True, exist_ok=True)
    given = pathlib.Path(__file__).resolve().parents[1] / 'fuzz' / 'corpus' / name
    result = subprocess.run(
        [str(options.fuzzer), f'-max_total_time={options.seconds}', f'-seed={options.seed_start}',
         f'-artifact_prefix={findings}/', '-print_final_stats=1', f'-timeout={UNIT_SECONDS_MAX}',
         f'-malloc_limit_mb={MALLOC_MIB_MAX}', f'-rss_limit_mb={RSS_MIB_MAX}', str(grown), *([str(given)] if given.is_dir() else [])],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors='replace', check=False)
    sys.stderr.write(result.stderr[-20000:])
    executed = re.search(r'number_of_executed_units:\s*(\d+)', result.stderr)
    print(json.dumps({'seed_from': options.seed_start, 'seed_to': options.seed_start,
                      'failures': 1 if result.returncode else 0,
                      'counts': {'executions': int(executed[1]) if executed else 0}}))
    return 1 if result.returncode else 0


if __name__ == '__main__':
    sys.exit(main())
