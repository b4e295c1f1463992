#!/usr/bin/env python3
"""A replay page in a browser: it steps by key and by button, and shows what its recording holds.

    replay_page_test.py EXPLORE_TEST [unittest arguments]

Exits with 77 where there is no Chromium.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

EXPLORE_TEST = ''
BROWSER = shutil.which('chromium') or shutil.which('chromium-browser')
FLAGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
         '--disable-background-networking', '--disable-component-update', '--disable-sync']
SAMPLE = 'ReplayPage.ShowsARecordedRunWithItsGraph'


class ReplayPage(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix='millrace-page-'))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        subprocess.run([EXPLORE_TEST, f'--gtest_filter={SAMPLE}'], check=True, timeout=120,
                       stdout=subprocess.DEVNULL,
                       env={**os.environ, 'MILLRACE_PAGE_FOLDER': str(cls.folder)})
        cls.page = (cls.folder / 'page.html').read_text()
        data = re.search(r'id="recording">(.*?)</script>', cls.page, re.DOTALL).group(1)
        cls.data = json.loads(data)
        cls.last = len(cls.data['steps']) - 1

    def dom(self, fragment='', script=''):
        """The page's document once it is loaded and `script` has run."""
        page = self.folder / 'scripted.html'
        page.write_text(self.page.replace('</body>', f'<script>{script}</script></body>'))
        done = subprocess.run(
            [BROWSER, *FLAGS, f'--user-data-dir={self.folder / "profile"}', '--dump-dom',
             f'{page.as_uri()}{fragment}'], capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        # Only what the page made, not what it was made from.
        return re.sub(r'<script.*?</script>', '', done.stdout, flags=re.DOTALL)

    def step(self, dom):
        return int(re.search(r'<body[^>]* data-step="(\d+)"', dom).group(1))

    @staticmethod
    def press(*keys):
        return ''.join(f'document.dispatchEvent(new KeyboardEvent("keydown", {{key: "{key}"}}));'
                       for key in keys)

    def test_opens_at_the_first_deviation_or_where_the_fragment_says(self):
        self.assertEqual(self.step(self.dom()), self.data['deviations'][0]['step'])
        self.assertEqual(self.step(self.dom('#step=3')), 3)
        self.assertEqual(self.step(self.dom('#step=999999')), self.last)

    def test_steps_by_keys_buttons_and_slider(self):
        self.assertEqual(self.step(self.dom('#step=3', self.press('ArrowRight', 'ArrowRight'))), 5)
        self.assertEqual(self.step(self.dom('#step=3', self.press('ArrowLeft'))), 2)
        self.assertEqual(self.step(self.dom('#step=0', self.press('ArrowLeft'))), 0)
        self.assertEqual(self.step(self.dom('#step=3', self.press('End'))), self.last)
        self.assertEqual(self.step(self.dom('#step=3', 'byId("forward").click();')), 4)
        slide = 'byId("slider").value = 7; byId("slider").dispatchEvent(new Event("input"));'
        self.assertEqual(self.step(self.dom('#step=3', slide)), 7)
        self.assertEqual(self.step(self.dom('#step=0', self.press('f'))), self.data['failedStep'])

    def test_shows_a_block_per_step_and_marks_the_current_one_and_deviations(self):
        dom = self.dom('#step=3')
        self.assertEqual(len(re.findall(r'class="block[ "]', dom)), self.last + 1)
        self.assertEqual(len(re.findall(r'class="block[^"]*\bcurrent\b', dom)), 1)
        deviations = {each['step'] for each in self.data['deviations']}
        self.assertEqual(len(re.findall(r'class="block[^"]*\bdeviation\b', dom)), len(deviations))
        self.assertEqual(dom.count('<tr class="first-deviation'), 1)

    def test_draws_the_graph_of_the_step_and_who_froze_it(self):
        step = next(note['step'] for note in self.data['notes']
                    if '"lease": {' in self.graph_of(note))
        dom = self.dom(f'#step={step}')
        for name in ('n0', 'n1', 'n2'):
            self.assertIn(f'data-node="{name}"', dom)
        self.assertIn('data-lessee="stream0"', dom)
        self.assertIn('frozen by stream0', dom)

    def test_shows_a_node_in_the_step_it_dies_in_and_not_later(self):
        step = next(note['step'] for note in self.data['notes'] if 'graph' in note
                    and '"name": "n1"' not in self.graph_of(note))
        self.assertRegex(self.dom(f'#step={step}'), r'class="node[^"]*\bdead\b[^"]*" data-node="n1"')
        self.assertNotIn('data-node="n1"', self.dom(f'#step={step + 1}'))

    def test_tells_what_went_wrong_as_text(self):
        dom = self.dom()
        self.assertIn('What went wrong: I15 shape', dom)
        self.assertIn('the chain is n2 &lt;- n0 &lt;/script&gt; &amp; "n1" died', dom)
        self.assertIn('--scenario=\'stream judged wrongly\'', dom)
        self.assertIn('canonical would have run', dom)

    def test_the_trace_is_json(self):
        events = json.loads((self.folder / 'trace.json').read_text())['traceEvents']
        self.assertEqual(sum(each['ph'] == 'X' for each in events), self.last + 1)

    def graph_of(self, note):
        return self.data['graphs'][note['graph']] if 'graph' in note else ''


if __name__ == '__main__':
    if BROWSER is None:
        print('no chromium: skipped')
        sys.exit(77)
    EXPLORE_TEST = sys.argv.pop(1)
    unittest.main()
