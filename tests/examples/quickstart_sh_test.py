#!/usr/bin/env python3
"""examples/quickstart.sh, the README's first command: what it installs, builds and runs.

    quickstart_sh_test.py QUICKSTART_SH PRESETS BUILD PROGRAM [unittest arguments]

It runs in a tree of its own with a PATH of its own, in which setup.sh and cmake are ours and only note
what they were asked; cmake "builds" a program that notes its arguments, where PROGRAM is in BUILD.
"""

import json
import os
import pathlib
import shutil
import stat
import subprocess
import sys
import tempfile
import unittest

QUICKSTART = PRESETS = PROGRAM = ''

SETUP = '''#!/bin/bash
echo "setup $*" >>"$FOLDER/calls"
exit "$(cat "$FOLDER/setup_status")"
'''
CMAKE = '''#!/bin/bash
echo "cmake $*" >>"$FOLDER/calls"
case $1 in
  --build)
    mkdir -p "$(dirname "$BUILT")"
    cp "$FOLDER/program" "$BUILT"
    exit "$(cat "$FOLDER/build_status")" ;;
esac
exit "$(cat "$FOLDER/configure_status")"
'''
MADE = '''#!/bin/bash
echo "program" >>"$FOLDER/calls"
printf '<%s>\\n' "$@" >"$FOLDER/arguments"
exit "$(cat "$FOLDER/program_status")"
'''


class QuickstartSh(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix='millrace-quickstart-'))
        self.addCleanup(shutil.rmtree, self.folder)
        self.bin = self.folder / 'bin'
        self.tree = self.folder / 'tree'
        for folder in (self.bin, self.tree / 'tests', self.tree / 'examples'):
            folder.mkdir(parents=True)
        for tool in ('bash', 'cat', 'cp', 'dirname', 'env', 'mkdir'):
            (self.bin / tool).symlink_to(shutil.which(tool))
        self.script = pathlib.Path(shutil.copy(QUICKSTART, self.tree / 'examples'))
        self.program(self.tree / 'tests' / 'setup.sh', SETUP)
        self.program(self.bin / 'cmake', CMAKE)
        self.program(self.folder / 'program', MADE)
        for step in ('setup', 'configure', 'build', 'program'):
            self.status(step, 0)

    def program(self, path, text):
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def status(self, step, number):
        (self.folder / f'{step}_status').write_text(f'{number}\n')

    def run_it(self, *words, expect):
        """As a reader does who stands elsewhere, and may run it or not."""
        done = subprocess.run(
            [self.script, *words], capture_output=True, text=True, timeout=60, cwd=self.folder,
            check=False, env={'PATH': str(self.bin), 'FOLDER': str(self.folder),
                              'BUILT': str(self.tree / 'build' / 'release' / PROGRAM)})
        self.assertEqual(done.returncode, expect, done.stdout + done.stderr)
        return (self.folder / 'calls').read_text().splitlines()

    def test_it_sets_up_configures_builds_the_quickstart_alone_and_runs_it(self):
        setup, configure, build, program = self.run_it(expect=0)
        self.assertEqual(setup, 'setup quickstart')
        self.assertEqual(configure.split()[:3], ['cmake', '--preset', 'release'])
        self.assertEqual(build, 'cmake --build --preset release --target example_quickstart')
        self.assertEqual(program, 'program')

    def test_arguments_are_handed_on_as_they_are(self):
        self.run_it('--small', '--seed=7', 'two words', '', '*', expect=0)
        self.assertEqual((self.folder / 'arguments').read_text(),
                         '<--small>\n<--seed=7>\n<two words>\n<>\n<*>\n')

    def test_the_exit_status_is_the_program_s(self):
        for status in (0, 1, 2, 130):
            with self.subTest(status=status):
                self.status('program', status)
                self.run_it('--small', expect=status)

    def test_a_step_that_fails_is_the_last(self):
        for step, calls in (('build', 3), ('configure', 2), ('setup', 1)):
            with self.subTest(step=step):
                (self.folder / 'calls').unlink(missing_ok=True)
                self.status(step, 3)
                self.assertEqual(len(self.run_it(expect=3)), calls)

    def test_the_preset_is_there_and_builds_where_the_program_is_run_from(self):
        presets = json.loads(pathlib.Path(PRESETS).read_text(encoding='utf-8'))
        configure = {preset['name']: preset for preset in presets['configurePresets']}
        self.assertEqual(configure['base']['binaryDir'], '${sourceDir}/build/${presetName}')
        self.assertIn('base', configure['release']['inherits'])
        self.assertIn('release', [preset['name'] for preset in presets['buildPresets']])


if __name__ == '__main__':
    QUICKSTART, PRESETS, BUILD, PROGRAM = sys.argv[1:5]
    PROGRAM = os.path.relpath(PROGRAM, BUILD)
    unittest.main(argv=sys.argv[:1] + sys.argv[5:])
