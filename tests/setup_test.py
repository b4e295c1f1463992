#!/usr/bin/env python3
"""What tests/setup.sh does to a machine: never more than installing what it names.

    setup_test.py SETUP_SH [unittest arguments]

It runs with a PATH of its own, in which dpkg-query and apt-get are ours: they answer as Debian's
would, and write down what they were asked to do.
"""

import os
import pathlib
import shutil
import stat
import subprocess
import sys
import tempfile
import unittest

SETUP = ''
TOOLS = ('bash', 'env', 'sed', 'tr', 'cat')

DPKG_QUERY = '''#!/bin/bash
# What FOLDER/installed lists is installed; of others, which fail the query, some are known.
status=0
for package in "${@:3}"; do
  case $'\\n'$(<"$FOLDER/installed")$'\\n' in
    *$'\\n'"$package"$'\\n'*) printf '%s:installed ' "$package" ;;
    *) status=1; [[ $package != lib* ]] || printf '%s:config-files ' "$package" ;;
  esac
done
exit "$status"
'''
APT_GET = '''#!/bin/bash
echo "apt-get $*" >>"$FOLDER/calls"
case " $* " in
  *" update "*) exit "$(cat "$FOLDER/update_status")" ;;
  *" --simulate "*) cat "$FOLDER/plan"; exit "$(cat "$FOLDER/plan_status")" ;;
esac
exit 0
'''
SUDO = '''#!/bin/bash
echo "sudo $*" >>"$FOLDER/calls"
exec "$@"
'''
ID = '''#!/bin/bash
cat "$FOLDER/user"
'''


class Setup(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix='millrace-setup-'))
        self.addCleanup(shutil.rmtree, self.folder)
        self.bin = self.folder / 'bin'
        self.bin.mkdir()
        for tool in (*TOOLS, 'grep'):
            (self.bin / tool).symlink_to(shutil.which(tool))
        for name, text in (('dpkg-query', DPKG_QUERY), ('apt-get', APT_GET), ('id', ID)):
            self.program(name, text)
        self.say(installed='', plan='', plan_status='0', update_status='0', user='0')

    def program(self, name, text):
        path = self.bin / name
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def say(self, **answers):
        for name, text in answers.items():
            (self.folder / name).write_text(text + '\n')

    def run_setup(self, *words, expect):
        done = subprocess.run(['bash', SETUP, *words], capture_output=True, text=True, timeout=60,
                              env={'PATH': str(self.bin), 'FOLDER': str(self.folder)}, check=False)
        self.assertEqual(done.returncode, expect, done.stderr)
        return done.stderr

    def calls(self):
        path = self.folder / 'calls'
        return path.read_text().splitlines() if path.exists() else []

    def installs(self):
        return [call for call in self.calls()
                if call.startswith('apt-get install') and '--simulate' not in call]

    def all_packages(self, kind='tests'):
        """What it says is missing on a machine with nothing."""
        said = self.run_setup(kind, expect=0)
        (self.folder / 'calls').unlink()
        line = next(line for line in said.splitlines() if line.startswith('setup: missing: '))
        return line.removeprefix('setup: missing: ').split()

    def test_a_conflict_is_named_and_nothing_is_changed(self):
        self.say(plan='Remv libboost-context1.74-dev [1.74.0]\nRemv libboost1.74-dev [1.74.0] []\n'
                      'Inst libboost1.81-dev (1.81.0)\nConf libboost1.81-dev (1.81.0)')
        said = self.run_setup('tests', expect=1)
        self.assertIn('would remove these installed packages: libboost-context1.74-dev '
                      'libboost1.74-dev', said)
        self.assertIn('libboost1.81-dev', said)
        self.assertIn('nothing was changed', said)
        self.assertIn("run 'apt-get remove libboost-context1.74-dev libboost1.74-dev", said)
        self.assertEqual(self.installs(), [])
        self.assertFalse([call for call in self.calls() if ' remove' in call.replace('--no-remove',
                                                                                    '')])

    def test_what_is_installed_is_never_removed(self):
        self.run_setup('tests', expect=0)
        self.assertEqual(len(self.installs()), 1)
        self.assertIn(' --no-remove ', self.installs()[0])

    def test_only_what_is_missing_is_installed(self):
        packages = self.all_packages()
        self.say(installed='\n'.join(package for package in packages if package != 'libgtest-dev'))
        self.run_setup('tests', expect=0)
        self.assertEqual(len(self.installs()), 1)
        self.assertTrue(self.installs()[0].endswith(' libgtest-dev'), self.installs())

    def test_a_machine_that_has_all_is_left_alone(self):
        self.say(installed='\n'.join(self.all_packages()))
        self.assertEqual(self.run_setup('tests', expect=0), '')
        self.assertEqual(self.calls(), [])

    def test_a_package_that_apt_does_not_know_is_named(self):
        self.say(plan='E: Unable to locate package libboost1.81-dev', plan_status='100')
        said = self.run_setup('tests', expect=1)
        self.assertIn('Unable to locate package libboost1.81-dev', said)
        self.assertEqual(self.installs(), [])

    def test_old_package_lists_will_do(self):
        self.say(update_status='100')
        said = self.run_setup('tests', expect=0)
        self.assertIn('trying with the package lists that are there', said)
        self.assertEqual(len(self.installs()), 1)

    def test_a_user_without_sudo_is_told_what_to_run_as_root(self):
        self.say(user='1000')
        said = self.run_setup('tests', expect=1)
        self.assertIn('apt-get install --no-remove g++ cmake', said)
        self.assertEqual(self.calls(), [])

    def test_a_user_with_sudo_uses_it_for_what_changes_the_machine(self):
        self.say(user='1000')
        self.program('sudo', SUDO)
        self.run_setup('tests', expect=0)
        by_sudo = [call for call in self.calls() if call.startswith('sudo ')]
        self.assertEqual(len(by_sudo), 2, self.calls())  # update and install
        self.assertTrue(all('DEBIAN_FRONTEND=noninteractive' in call for call in by_sudo))

    def test_the_quickstart_goes_on_without_qemu(self):
        needed = self.all_packages()
        self.say(installed='\n'.join(p for p in needed if not p.startswith('qemu')),
                 plan='E: Unable to locate package qemu-utils', plan_status='100')
        said = self.run_setup('quickstart', expect=0)
        self.assertIn('going on without qemu-utils', said)

    def test_the_nightly_run_has_what_the_tests_have_and_what_its_oracle_needs(self):
        more = set(self.all_packages('nightly')) - set(self.all_packages())
        self.assertEqual(more, {'clang-tidy', 'qemu-system-x86', 'busybox-static', 'e2fsprogs',
                                'chromium'})
        self.assertEqual(set(self.all_packages()) - set(self.all_packages('nightly')), set())
        nightly = pathlib.Path(SETUP).with_name('nightly.sh').read_text(encoding='utf-8')
        self.assertIn('\ntests/setup.sh nightly\n', nightly)

    def test_another_system_is_told_what_is_needed(self):
        (self.bin / 'dpkg-query').unlink()
        said = self.run_setup('quickstart', expect=1)
        self.assertIn('not a Debian system', said)
        self.assertIn('libabsl-dev', said)
        self.assertIn('MILLRACE_SKIP_SETUP=1', said)

    def test_an_unknown_word_is_refused(self):
        self.assertIn('usage: tests/setup.sh', self.run_setup('everything', expect=2))
        self.assertEqual(self.calls(), [])


if __name__ == '__main__':
    SETUP = os.path.abspath(sys.argv[1])
    unittest.main(argv=sys.argv[:1] + sys.argv[2:])
