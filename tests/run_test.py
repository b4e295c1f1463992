#!/usr/bin/env python3
"""What tests/run.sh says of a run, in its last line and by its exit status.

    run_test.py RUN_SH CTEST [unittest arguments]

It runs in a tree of its own with a PATH of its own, in which cmake is ours and only notes what it was
asked; ctest is ours, with results that are known, or the real one with tests that are.
"""

import os
import pathlib
import shutil
import stat
import subprocess
import sys
import tempfile
import unittest

RUN = CTEST = ''
TOOLS = ('bash', 'cat', 'dirname', 'env', 'grep', 'nproc', 'rm', 'sed', 'sh')

SETUP = '''#!/bin/bash
echo "setup $*" >>"$FOLDER/calls"
exit "$(cat "$FOLDER/setup_status")"
'''
CMAKE = '''#!/bin/bash
echo "cmake $*" >>"$FOLDER/calls"
case $1 in
  --build) exit "$(cat "$FOLDER/build_status")" ;;
esac
exit "$(cat "$FOLDER/configure_status")"
'''
FAKE_CTEST = '''#!/bin/bash
echo "ctest $*" >>"$FOLDER/calls"
[ ! -e "$FOLDER/results" ] || cat "$FOLDER/results" >build/$2/tests.xml
exit "$(cat "$FOLDER/ctest_status")"
'''
RESULTS = '''<?xml version="1.0" encoding="UTF-8"?>
<testsuite name="Linux-g++"
\ttests="{tests}"
\tfailures="{failures}"
\tdisabled="{disabled}"
\tskipped="{skipped}"
\thostname=""
\ttime="1"
\ttimestamp="2026-01-01T00:00:00"
\t>
{cases}</testsuite>
'''
SHARD = """<?xml version="1.0" encoding="UTF-8"?>
<testsuites tests="{tests}" failures="{failures}" disabled="{disabled}" errors="0" name="AllTests">
  <testsuite name="A" tests="{tests}" failures="{failures}" disabled="{disabled}" skipped="{skipped}">
{cases}  </testsuite>
</testsuites>
"""
PRESETS = '''{"version": 3,
 "configurePresets": [{"name": "release", "generator": "Ninja",
                       "binaryDir": "${sourceDir}/build/release"}],
 "testPresets": [{"name": "release", "configurePreset": "release",
                  "execution": {"noTestsAction": "error"}}]}
'''


class Run(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix='millrace-run-'))
        self.addCleanup(shutil.rmtree, self.folder)
        self.bin = self.folder / 'bin'
        self.tree = self.folder / 'tree'
        self.build = self.tree / 'build' / 'release'
        for folder in (self.bin, self.tree / 'tests', self.build):
            folder.mkdir(parents=True)
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool))
        shutil.copy(RUN, self.tree / 'tests' / 'run.sh')
        self.program(self.tree / 'tests' / 'setup.sh', SETUP)
        self.program(self.bin / 'cmake', CMAKE)
        self.program(self.bin / 'ctest', FAKE_CTEST)
        for step in ('setup', 'configure', 'build', 'ctest'):
            self.status(step, 0)

    def program(self, path, text):
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def status(self, step, number):
        (self.folder / f'{step}_status').write_text(f'{number}\n')

    def results(self, tests, failures=0, disabled=0, skipped=0, cases=''):
        (self.folder / 'results').write_text(RESULTS.format(
            tests=tests, failures=failures, disabled=disabled, skipped=skipped, cases=cases))

    def real_tests(self, **commands):
        """For the real ctest: {name: shell command}."""
        self.program(self.bin / 'ctest', f'#!/bin/sh\nexec {CTEST} "$@"\n')
        (self.tree / 'CMakePresets.json').write_text(PRESETS)
        with open(self.build / 'CTestTestfile.cmake', 'w', encoding='utf-8') as file:
            for name, command in commands.items():
                words = f'"/bin/sh" "-c" "{command}"' if command else f'"{self.folder}/no-program"'
                file.write(f'add_test({name} {words})\nset_tests_properties({name} PROPERTIES '
                           'SKIP_RETURN_CODE 77 SKIP_REGULAR_EXPRESSION "SKIPPED HERE")\n')

    def shard(self, name, tests, failures=0, disabled=0, skipped=0):
        """What a process of GoogleTest's shall leave; the path to it."""
        left = self.folder / f'{name}.xml'
        left.write_text(SHARD.format(
            tests=tests, failures=failures, disabled=disabled, skipped=skipped,
            cases='    <testcase name="a" status="run" result="skipped" classname="A">\n' * skipped))
        return f'{shutil.which("cp")} {left} {self.build}/gtest'

    def run_sh(self, *words, expect):
        done = subprocess.run(
            ['bash', self.tree / 'tests' / 'run.sh', *words], capture_output=True, text=True,
            timeout=60, cwd=self.folder, check=False,
            env={'PATH': str(self.bin), 'FOLDER': str(self.folder)})
        self.assertEqual(done.returncode, expect, done.stdout + done.stderr)
        return done

    def says(self, last, *words, expect):
        said = self.run_sh(*words, expect=expect).stdout
        self.assertEqual(said.splitlines()[-1], last, said)
        return said

    def calls(self):
        return (self.folder / 'calls').read_text().splitlines()

    # ---- Known results ---------------------------------------------------------------------------

    def test_a_run_sets_up_configures_builds_and_tests_the_preset(self):
        self.results(9)
        self.says('9 passed, 0 failed', expect=0)
        self.assertEqual(self.calls()[:3], ['setup tests', 'cmake --preset release',
                                            'cmake --build --preset release'])
        self.assertRegex(self.calls()[3], r'^ctest --preset release --parallel \d+ '
                                          r'--output-junit tests\.xml$')
        (self.tree / 'build' / 'dev').mkdir()
        self.says('9 passed, 0 failed', 'dev', expect=0)
        self.assertEqual(self.calls()[5], 'cmake --preset dev')

    def test_what_was_skipped_or_disabled_has_not_passed(self):
        self.results(9, disabled=1, skipped=2, cases='<skipped message="SKIP_RETURN_CODE=77"/>\n'
                     '<skipped message="SKIP_REGULAR_EXPRESSION_MATCHED"/>\n')
        self.assertIn('3 tests skipped', self.says('6 passed, 0 failed', expect=0))

    def test_failures_are_counted_and_how_to_repeat_one_is_said(self):
        self.results(9, failures=2, skipped=1)
        self.status('ctest', 8)
        said = self.says('6 passed, 2 failed', expect=1)
        self.assertIn("repeat one: ctest --test-dir build/release --output-on-failure -R '^NAME$'",
                      said)

    def test_a_failure_that_ctest_names_no_test_for_is_one_all_the_same(self):
        self.results(9)
        self.status('ctest', 8)
        self.says('8 passed, 1 failed', expect=1)

    def test_no_tests_are_a_failure(self):
        self.says('0 passed, 1 failed', expect=1)
        self.results(0)
        self.assertIn('release: no tests ran', self.says('0 passed, 1 failed', expect=1))

    def test_a_step_that_fails_is_the_last(self):
        for step, reason in (('build', 'does not build'), ('configure', 'cannot configure'),
                             ('setup', 'packages are missing')):
            with self.subTest(step=step):
                self.results(9)
                self.status(step, 1)
                said = self.says('0 passed, 1 failed', expect=1)
                self.assertIn(f'release: {reason}\n', said)
                self.assertFalse([call for call in self.calls() if call.startswith('ctest')])

    def test_results_of_an_earlier_run_count_for_nothing(self):
        (self.build / 'tests.xml').write_text(RESULTS.format(tests=9, failures=0, disabled=0,
                                                             skipped=0, cases=''))
        self.status('ctest', 1)
        self.says('0 passed, 1 failed', expect=1)

    def test_an_unknown_preset_is_refused_and_help_is_no_error(self):
        self.assertIn('tests/run.sh [preset]', self.run_sh('nonsense', expect=2).stderr)
        self.assertIn('tests/run.sh [preset]', self.run_sh('--help', expect=0).stderr)
        self.assertFalse((self.folder / 'calls').exists())

    # ---- The real ctest --------------------------------------------------------------------------

    def test_passes_and_skips_as_ctest_tells_them(self):
        self.real_tests(one='true', two='true', by_status='exit 77', by_word='echo SKIPPED HERE')
        self.says('2 passed, 0 failed', expect=0)

    def test_a_failure_as_ctest_tells_it(self):
        self.real_tests(good='true', bad='false')
        self.says('1 passed, 1 failed', expect=1)

    def test_a_test_program_that_crashes_fails(self):
        self.real_tests(good='true', crash='kill -SEGV $$', skip='exit 77')
        self.says('1 passed, 1 failed', expect=1)

    def test_a_test_program_that_is_missing_fails_and_is_no_skip(self):
        self.real_tests(good='true', better='true', gone='')
        self.assertIn(' 0 tests skipped', self.says('2 passed, 1 failed', expect=1))
        self.real_tests(good='true', bad='false', gone='', skip='exit 77')
        self.says('1 passed, 2 failed', expect=1)

    def test_the_tests_in_a_process_are_counted_one_by_one(self):
        make = f'{shutil.which("mkdir")} -p {self.build}/gtest'
        one = f'{make} && ' + self.shard('one', 9, disabled=1, skipped=2)
        self.real_tests(one=one, other='true')
        self.assertIn(' 3 tests skipped', self.says('7 passed, 0 failed', expect=0))
        two = f'{make} && ' + self.shard('two', 5, failures=2) + ' && false'
        self.real_tests(one=one, two=two, other='true')
        self.says('10 passed, 2 failed', expect=1)
        # As when memory leaks: no test failed, but the process did; and one that left nothing.
        leaks = f'{make} && ' + self.shard('leaks', 5) + ' && false'
        self.real_tests(one=one, leaks=leaks, dies='kill -SEGV $$')
        self.says('10 passed, 2 failed', expect=1)

    def test_a_tree_without_tests_fails(self):
        self.real_tests()
        self.says('0 passed, 1 failed', expect=1)


if __name__ == '__main__':
    RUN, CTEST = map(os.path.abspath, sys.argv[1:3])
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])
