#!/usr/bin/env python3
"""What the gallery says of itself is true, and the shipped library knows nothing of it.

    race_gallery_test.py ROOT RACE_GALLERY ARCHIVE...

ARCHIVE: the library's archives, as they are shipped.
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

ROOT, GALLERY, ARCHIVES = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
ENUMERATION = re.search(r'enum class Mutant : uint8_t \{(.*?)\}',
                        (ROOT / 'engine/base/mutant.h').read_text(encoding='utf-8'),
                        re.DOTALL).group(1)
MUTANTS = set(re.findall(r'\bk([RM]\w+)', ENUMERATION))


def output_of(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


class Gallery(unittest.TestCase):
    def test_its_page_shows_the_tables_that_the_program_prints(self):
        page = (ROOT / 'examples/race_gallery/RACES.md').read_text(encoding='utf-8')
        self.assertIn(output_of(GALLERY, 'list', '--markdown'), page,
                      'put the output of "race_gallery list --markdown" into RACES.md')

    def test_every_mutant_is_in_the_library_and_in_the_gallery(self):
        in_library = set()
        for folder in ('engine', 'graph', 'jobs'):
            for source in (ROOT / folder).rglob('*.cc'):
                in_library |= set(re.findall(r'\bMILLRACE_MUTANT\(k([RM]\w+)\)',
                                             source.read_text(encoding='utf-8')))
            for header in (ROOT / folder).rglob('*.h'):
                if header.name == 'mutant.h':
                    continue
                # A header is compiled without the mutants, too, into the same program.
                self.assertNotIn('MILLRACE_MUTANT', header.read_text(encoding='utf-8'), header)
        self.assertEqual(in_library, MUTANTS)
        listed = re.findall(r'^\| ([RM]\w+) \| [^|]+ \| [^|]+ \|$',
                            output_of(GALLERY, 'list', '--markdown'), re.MULTILINE)
        self.assertEqual(set(listed), MUTANTS)
        self.assertEqual(len(listed), len(MUTANTS), 'a mutant is in the gallery twice')

    def test_all_72_races_are_there_and_what_is_excluded_has_its_program(self):
        rows = re.findall(r'^(R\d\d) .*\(([abc])\) (.*)$', output_of(GALLERY, 'list'), re.MULTILINE)
        self.assertEqual(len(rows), 72)
        for race, race_class, rest in rows:
            if race_class == 'a':
                self.assertTrue(any(m.startswith(race) for m in MUTANTS), race)
            elif race_class == 'b':
                program = re.search(r'does not compile: (\S+\.cc)', rest).group(1)
                self.assertTrue((ROOT / 'tests/must_not_compile' / program).exists(), program)
            else:
                self.assertRegex(rest, r'waits for \w', race)

    def test_mutants_have_scripts_and_scenes_have_stories(self):
        said = subprocess.run([GALLERY, 'run', *sorted(MUTANTS), '--script'], capture_output=True,
                              text=True, check=False).stdout
        told = re.split(r'(?m)^(?=[RM]\d\w+  )', said)[1:]
        self.assertEqual({each.split()[0] for each in told}, MUTANTS)
        for each in told:
            self.assertRegex(each, r'(?m)^  scene +[\w-]+: \w')
            self.assertRegex(each, r'(?m)^  found by +script, schedule 1,')

    def test_the_debate_tells_how_often_and_how_each_policy_fails(self):
        said = output_of(GALLERY, 'debate', '--schedules=40')
        verdicts = re.findall(r'(?m)^(\S.*?) +(\d+) of 40$', said)
        self.assertEqual([name for name, _ in verdicts],
                         ['above_base, frozen', 'above_base, not frozen', 'base_overlay only',
                          'Millrace'])
        for name, failed in verdicts:
            self.assertEqual(int(failed) > 0, name != 'Millrace', name)
        self.assertRegex(said, r'delay bound 2 complete')

    def test_the_command_line_is_held_to_its_words(self):
        for arguments in ([], ['run'], ['run', '--all', 'R02'], ['list', 'R02'], ['run', '--al']):
            self.assertEqual(subprocess.run([GALLERY, *arguments], capture_output=True,
                                            check=False).returncode, 2, arguments)
        self.assertEqual(subprocess.run([GALLERY, 'run', 'R00'], capture_output=True,
                                        check=False).returncode, 1)


    def test_a_finding_becomes_a_page_with_its_steps_and_the_graph(self):
        with tempfile.TemporaryDirectory() as folder:
            page = pathlib.Path(folder) / 'page.html'
            said = output_of(GALLERY, 'run', 'R02', '--html', str(page))
            text = page.read_text(encoding='utf-8')
            schedule = re.search(r'--replay=(\S+)', said).group(1)
            self.assertIn(schedule, text)
            self.assertIn('"word": "I1"', text)
            self.assertRegex(text, r'base swapped inside the drain \(2022\); there it broke I1 \(\w')
            self.assertIn('What must hold (', text)
            # At least one drawing of the graph: the nodes of the chain by name.
            self.assertRegex(text, r'"name\\?": \\?"n0')
            nowhere = subprocess.run([GALLERY, 'run', 'R02', f'--html={folder}/no/page.html'],
                                     capture_output=True, text=True, check=False)
            self.assertEqual(nowhere.returncode, 1)
            self.assertIn('could not be written', nowhere.stdout)

    def page_of(self, mutant):
        """The recording in a mutant's page, as the page has it."""
        with tempfile.TemporaryDirectory() as folder:
            page = pathlib.Path(folder) / 'page.html'
            output_of(GALLERY, 'run', mutant, '--html', str(page))
            text = page.read_text(encoding='utf-8')
        data = re.search(r'id="recording">(.*?)</script>', text, re.DOTALL).group(1)
        return re.search(r'<title>(.*?)</title>', text).group(1), json.loads(data)

    def test_a_page_is_titled_by_what_its_mutant_does_and_has_a_plain_verdict(self):
        for mutant, title, verdict in (
                ('R24b', 'R24b: a new speed does not wake a job that sleeps by the old',
                 r"^Something does not go on, or far too late.*job 's' has no speed limit any more"),
                ('R55', 'R55: a job that fails inside its last drain never ends it',
                 r"^A job that is over still holds something: job 'm' concludes with a drained"),
                ('R10', 'R10: a mirror does not look at its marks again inside its drain',
                 r"^The guest does not read what it wrote last: sector \d+ of 't' holds .* instead of"),
                ('R89', 'R89: a drain lets its users go in an order that no recording knows of',
                 r'^The same schedule led to other steps when it was played again'),
                ('R06a', 'R06a: a job that ends unfreezes all links of its chain but the lowest one',
                 r"^A job failed although nobody disturbed it.*: job 's' failed, and nobody dist"
                 r".*: cannot change the frozen 'backing' link from 'n1' to 'n0': commit job 'c'"),
                ('R22', 'R22: a job that writes a header is awake while it waits for drains',
                 r"^Nothing can go on any more: everybody waits: '.* held by .*commit job 'c'"),
                ('R42', 'R42: roots are closed although jobs still hold them',
                 r"^A node is gone.*: block device 'drive0' drops node 'n\d', which is used by commit "
                 r"job 'c'"),
                ('R26a', 'R26a: a flush that fails is tried again before anybody sees that the job is '
                 'cancelled', r"^A job was cancelled and does not stop: job 'm' was cancelled")):
            said, data = self.page_of(mutant)
            self.assertEqual(said, title)
            self.assertRegex(data['verdict'], verdict)
            self.assertNotRegex(data['verdict'], r'[A-Z]{4}|check failed')
            bugs = [note['text'] for note in data['notes'] if note['kind'] == 'bug']
            self.assertTrue(bugs, mutant)
            self.assertRegex(bugs[0], r'^[a-z].{20,} \(in \w+\(\) of \w+\.cc\)$')

    def test_a_page_tells_what_the_user_says_of_speed_and_when_the_sleeper_wakes(self):
        _, data = self.page_of('R24b')
        self.assertIn("changes the speed of job 's' from 1 byte a second to no limit",
                      [note['text'] for note in data['notes'] if note['kind'] == 'act'])
        fired = [step['ns'] for step in data['steps'] if step['party'] == 'job.sleep']
        self.assertIn(51_200_000_000, fired)


class ShippedLibrary(unittest.TestCase):
    def test_it_holds_no_symbol_of_a_mutant(self):
        self.assertTrue(ARCHIVES)
        for archive in ARCHIVES:
            symbols = output_of('nm', '-C', archive)
            self.assertIn('millrace::', symbols)
            self.assertNotIn('Mutant', symbols)

    def test_it_holds_no_text_of_a_mutant(self):
        # Only what is loaded: the names of enumerators may be in a debugger's sections.
        for archive in ARCHIVES:
            for line in output_of('strings', '-d', archive).splitlines():
                self.assertNotRegex(line, r'(?i)mutant', archive)


if __name__ == '__main__':
    unittest.main(argv=sys.argv[:1])
