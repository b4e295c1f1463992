#!/usr/bin/env python3
"""Sums the ledger per campaign, since its last failure: summary.py [LEDGER]"""

import pathlib
import sys

import ledger


def main(path):
    sums = ledger.sums(ledger.read(path))
    for campaign, total in sorted(sums.items()):
        hours = total['seconds'] / 3600
        counts = ', '.join(f'{count:,} {name}' for name, count in sorted(total['counts'].items())
                           if not name.startswith('site '))
        since = f', since the failure of {total["last_failure"]}' if total['last_failure'] else ''
        print(f'{campaign}: {hours:.2f} h in {total["slices"]} slices, {total["seeds"]:,} seeds'
              f'{": " + counts if counts else ""}{since}')
    if not sums:
        print('the ledger is empty')
    return 0


if __name__ == '__main__':
    default = pathlib.Path(__file__).parent / 'ledger.jsonl'
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else default))
