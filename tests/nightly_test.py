#!/usr/bin/env python3
"""What tests/nightly.sh makes of what its steps say: all are run, and a failure is the exit status.

    nightly_test.py NIGHTLY_SH [unittest arguments]

It runs in a tree of its own with a PATH of its own, in which every step is ours: it notes that it was
asked, and ends as the case wants.
"""

import os
import pathlib
import shutil
import stat
import subprocess
import sys
import tempfile
import unittest

NIGHTLY = ''
TOOLS = ('bash', 'cat', 'dirname', 'mkdir', 'sed')
PROGRAMS = {  # of the tree, and what each is called here
    'tests/setup.sh': 'setup', 'tests/tidy/clang_tidy.sh': 'tidy',
    'tests/consumer/check.sh': 'subproject',
    'build/release/tests/scenario_proofs': 'proofs',
    'build/release/examples/race_gallery/race_gallery': 'gallery',
    'build/asan-ubsan/examples/race_gallery/race_gallery': 'sanitized_gallery'}
SCRIPTS = {  # run by python3: how their command lines begin
    'tests/campaign/nightly.py': 'campaigns', 'tests/campaign/report.py': 'report',
    'tests/campaign/quickstart_runs.py --times 3 --ledger --small --program': 'quickstart_small',
    'tests/campaign/quickstart_runs.py --times 3 --ledger --program': 'quickstart_full',
    'tests/hypervisor/run.py --backend both': 'conformance',
    'tests/hypervisor/run.py --backend millraced': 'introspect',
    'tests/consumer/installed_headers.py': 'headers',
    'tests/hypervisor/differential.py': 'differential',
    'tests/hypervisor/cost/start_cost_test.py': 'cost',
    'tests/explore/replay_page_test.py': 'pages', 'tests/guest/run.py': 'guest'}
JUDGES = ['campaigns', 'quickstart_small', 'quickstart_full', 'tidy', 'subproject', 'headers',
          'proofs', 'gallery', 'sanitized_gallery', 'report', 'conformance', 'introspect',
          'differential', 'cost', 'pages', 'guest']
MAY_BE_SKIPPED = JUDGES[JUDGES.index('report') + 1:]

STEP = '''#!/bin/bash
echo "{name} $*" >>"$FOLDER/calls"
[ ! -e "$FOLDER/{name}" ] || exit "$(cat "$FOLDER/{name}")"
'''
PYTHON = '''#!/bin/bash
shift  # -B
case $* in
{cases}  *) exit 99 ;;
esac
shift
echo "$name $* $MILLRACED" >>"$FOLDER/calls"
[ ! -e "$FOLDER/$name" ] || exit "$(cat "$FOLDER/$name")"
'''


class Nightly(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix='millrace-nightly-'))
        self.addCleanup(shutil.rmtree, self.folder)
        self.tree, self.bin = self.folder / 'tree', self.folder / 'bin'
        self.bin.mkdir()
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool))
        for path, name in PROGRAMS.items():
            self.program(self.tree / path, STEP.format(name=name))
        shutil.copy(NIGHTLY, self.tree / 'tests' / 'nightly.sh')
        self.program(self.bin / 'cmake', STEP.format(name='cmake'))
        self.program(self.bin / 'python3', PYTHON.format(cases=''.join(
            f'  "{begin}"*) name={name} ;;\n' for begin, name in SCRIPTS.items())))

    def program(self, path, text):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def nightly(self, *words, expect, **statuses):
        """What was asked, step by step, and what was said; `statuses` are those of steps."""
        (self.folder / 'calls').write_text('')
        for name, status in statuses.items():
            (self.folder / name).write_text(f'{status}\n')
        done = subprocess.run(
            ['bash', self.tree / 'tests' / 'nightly.sh', *words], capture_output=True, text=True,
            timeout=60, check=False, env={'PATH': str(self.bin), 'FOLDER': str(self.folder)})
        self.assertEqual(done.returncode, expect, done.stdout + done.stderr)
        for name in statuses:
            (self.folder / name).unlink()
        calls = [call.split() for call in (self.folder / 'calls').read_text().splitlines()]
        return [(call[0], call[1:]) for call in calls], done.stderr

    def judged(self, calls):
        return [name for name, _ in calls if name in JUDGES]

    def test_every_step_is_run_and_the_daemon_is_told_where_it_is(self):
        calls, said = self.nightly('--minutes', '5', expect=0)
        self.assertEqual(calls[0], ('setup', ['nightly']))
        self.assertEqual(self.judged(calls), JUDGES)
        self.assertEqual(said, '')
        asked = dict(calls)
        daemon = str(self.tree / 'build/release/examples/hypervisor/millraced')
        self.assertEqual(asked['campaigns'][:2], ['--minutes', '5'])
        self.assertEqual(asked['conformance'], ['--backend', 'both', daemon])
        self.assertEqual(asked['differential'], [daemon])
        built = next(words for name, words in calls if name == 'cmake' and '--target' in words)
        self.assertIn('example_hypervisor', built)
        self.assertIn('example_quickstart', built)
        quickstart = 'build/release/examples/quickstart/quickstart'
        self.assertIn(quickstart, asked['quickstart_small'])
        self.assertIn(quickstart, asked['quickstart_full'])

    def test_a_step_that_fails_is_the_exit_status_and_ends_nothing(self):
        for name in JUDGES:
            with self.subTest(name):
                calls, _ = self.nightly('--minutes', '5', expect=3, **{name: 3})
                self.assertEqual(self.judged(calls), JUDGES)

    def test_only_what_needs_more_may_be_skipped_and_that_is_told(self):
        for name in JUDGES:
            with self.subTest(name):
                skips = name in MAY_BE_SKIPPED
                _, said = self.nightly('--minutes', '5', expect=0 if skips else 77, **{name: 77})
                self.assertEqual('skipped, something that it needs is missing' in said, skips)

    def test_a_failure_outlives_a_later_skip(self):
        self.nightly('--minutes', '5', expect=1, conformance=1, guest=77)

    def test_without_packages_nothing_is_run(self):
        calls, _ = self.nightly('--minutes', '5', expect=1, setup=1)
        self.assertEqual(calls, [('setup', ['nightly'])])

    def test_without_minutes_it_says_what_it_takes(self):
        calls, said = self.nightly(expect=2)
        self.assertEqual(calls, [])
        self.assertIn('tests/nightly.sh --minutes N', said)
        self.assertEqual(said.splitlines()[-1].strip()[-8:], 'failure.')


if __name__ == '__main__':
    NIGHTLY = os.path.abspath(sys.argv[1])
    unittest.main(argv=sys.argv[:1] + sys.argv[2:])
