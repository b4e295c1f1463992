#!/usr/bin/env python3
"""A replay page in a browser: it steps by key and by button, shows what its recording holds, and
tells which steps matter and what they changed.

    replay_page_test.py EXPLORE_TEST [unittest arguments]

Exits with 77 where there is no Chromium.
"""

import html
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
SAMPLES = ('ReplayPage.ShowsARecordedRunWithItsGraph:'
           'ReplayPage.IsWrittenOfAStoryToldBySnapshots:'
           'ReplayPage.IsWrittenOfAMirrorThatLosesAWrite')
WIDE, NARROW = '1400,900', '1000,800'


class Page(unittest.TestCase):
    """One of the pages that the samples write, in a browser."""
    NAME = ''

    @classmethod
    def setUpClass(cls):
        if not cls.NAME:
            raise unittest.SkipTest('what the others have in common')
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix='millrace-page-'))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        subprocess.run([EXPLORE_TEST, f'--gtest_filter={SAMPLES}'], check=True, timeout=120,
                       stdout=subprocess.DEVNULL,
                       env={**os.environ, 'MILLRACE_PAGE_FOLDER': str(cls.folder)})
        cls.page = (cls.folder / cls.NAME).read_text()
        data = re.search(r'id="recording">(.*?)</script>', cls.page, re.DOTALL).group(1)
        cls.data = json.loads(data)
        cls.last = len(cls.data['steps']) - 1

    def dom(self, fragment='', script='', size='1280,800'):
        """The page's document once it is loaded and `script` has run."""
        page = self.folder / 'scripted.html'
        page.write_text(self.page.replace('</body>', f'<script>{script}</script></body>'))
        done = subprocess.run(
            [BROWSER, *FLAGS, f'--user-data-dir={self.folder / "profile"}',
             f'--window-size={size}', '--dump-dom', f'{page.as_uri()}{fragment}'],
            capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        # Only what the page made, not what it was made from.
        return re.sub(r'<script.*?</script>', '', done.stdout, flags=re.DOTALL)

    def step(self, dom):
        return int(re.search(r'<body[^>]* data-step="(\d+)"', dom).group(1))

    def answer(self, script, fragment='', size='1280,800'):
        """What `script`, an expression, is worth on the page."""
        dom = self.dom(fragment, f'document.body.dataset.answer = JSON.stringify({script});', size)
        return json.loads(html.unescape(re.search(r' data-answer="([^"]*)"', dom).group(1)))

    def graph_of(self, note):
        is_graph = note['kind'] == 'graph' and 'snapshot' in note
        return self.data['snapshots'][note['snapshot']] if is_graph else ''

    @staticmethod
    def press(*keys):
        return ''.join(f'document.dispatchEvent(new KeyboardEvent("keydown", {{key: "{key}"}}));'
                       for key in keys)


# Pairs of words in the drawing that lie on one another, and words outside of it, in any step.
COLLISIONS = """steps.flatMap((step) => {
  show(step.index);
  const frame = byId('graph').getBoundingClientRect();
  const words = [...document.querySelectorAll('#graph text')].filter((each) => each.textContent)
      .map((each) => ({ text: each.textContent, box: each.getBoundingClientRect() }));
  const bad = words.filter(({ box }) => box.left < frame.left - 1 || box.right > frame.right + 1)
      .map(({ text }) => `${step.index}: ${text} sticks out`);
  words.forEach((one, i) => words.slice(i + 1).forEach((other) => {
    const width = Math.min(one.box.right, other.box.right) -
                  Math.max(one.box.left, other.box.left);
    const height = Math.min(one.box.bottom, other.box.bottom) -
                   Math.max(one.box.top, other.box.top);
    // Lines of a text touch by their ascenders.
    if (width > 1 && height > 4) bad.push(`${step.index}: ${one.text} on ${other.text}`);
  }));
  return bad;
})"""


class RecordedRun(Page):
    NAME = 'page.html'

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
        self.assertEqual(len(re.findall(r'<tr class="step first-deviation\b', dom)), 1)

    def test_draws_the_graph_of_the_step_and_who_froze_it(self):
        step = next(note['step'] for note in self.data['notes']
                    if '"lease": {' in self.graph_of(note))
        dom = self.dom(f'#step={step}')
        for name in ('n0', 'n1', 'n2'):
            self.assertIn(f'data-node="{name}"', dom)
        self.assertIn('data-lessee="stream0"', dom)
        self.assertIn('frozen by stream0', dom)

    def test_shows_a_node_in_the_step_it_dies_in_and_not_later(self):
        step = next(note['step'] for note in self.data['notes'] if self.graph_of(note)
                    and '"name": "n1"' not in self.graph_of(note))
        self.assertRegex(self.dom(f'#step={step}'), r'class="node[^"]*\bdead\b[^"]*" data-node="n1"')
        self.assertNotIn('data-node="n1"', self.dom(f'#step={step + 1}'))

    def test_tells_what_went_wrong_as_text(self):
        dom = self.dom()
        self.assertRegex(dom, r'id="failure-text">I15 shape: the chain is n2')
        self.assertIn('the chain is n2 &lt;- n0 &lt;/script&gt; &amp; "n1" died', dom)
        self.assertIn('--scenario=\'stream judged wrongly\'', dom)
        self.assertIn('production would have run', dom)

    def test_nothing_in_the_drawing_covers_anything_else(self):
        self.assertEqual(self.answer(COLLISIONS), [])

    def test_ticks_stand_apart_where_moments_are_close(self):
        ticks = self.answer('[...document.querySelectorAll(".tick")].map((each) => '
                            'each.getBoundingClientRect().left).sort((a, b) => a - b)', '', NARROW)
        self.assertGreater(len(ticks), 3)
        self.assertTrue(all(b - a >= 5 for a, b in zip(ticks, ticks[1:])), ticks)

    def test_a_run_in_which_nothing_is_forgotten_has_no_moment_that_says_so(self):
        self.assertEqual(self.answer('steps.filter((step) => step.weight >= 5)'
                                     '.map((step) => sentenceOf(step, 9))'), [])

    def test_the_step_where_the_chain_last_changed_is_a_moment(self):
        step = max(note['step'] for note in self.data['notes'] if self.graph_of(note)
                   and '"name": "n1"' in self.graph_of(note)) + 1
        moments = self.answer('moments.map((each) => [each.step, each.text])')
        self.assertTrue(any("'n1' goes" in text or 'now stands on n0' in text
                            for _, text in moments), (step, moments))

    def test_the_trace_is_json(self):
        events = json.loads((self.folder / 'trace.json').read_text())['traceEvents']
        self.assertEqual(sum(each['ph'] == 'X' for each in events), self.last + 1)


class StoryOfAForgottenFreeze(Page):
    """Told by replay_page_test.cc: job c ends in step 24 and leaves f's link to base frozen."""
    NAME = 'story.html'

    def moment(self, step):
        return next((each for each in self.answer('moments') if each['step'] == step), None)

    def links(self, step):
        """What is drawn: the class of each link by its name, what has just gone apart."""
        return {name: kinds.split() for kinds, name in self.answer(
            '[...document.querySelectorAll("#graph [data-edge]")].map((each) => '
            '[each.getAttribute("class"), (each.classList.contains("gone") ? "gone " : "") + '
            'each.dataset.edge])', f'#step={step}')}

    def changes(self, step):
        return self.answer('[...document.querySelectorAll("#now p")].map((each) => '
                           '[...each.children].map((part) => part.textContent).join(": "))',
                           f'#step={step}')

    def test_opens_where_the_bug_acts(self):
        self.assertEqual(self.step(self.dom()), 23)

    def test_the_first_thing_that_should_not_be_is_a_moment(self):
        moment = self.moment(24)
        self.assertIn('stale', moment['kinds'])
        self.assertIn('f\u2192base stays frozen by c, which is over', moment['text'])

    def test_a_freeze_whose_owner_is_gone_is_drawn_as_wrong_and_not_before(self):
        self.assertIn('stale', self.links(24)['f>base'])
        self.assertIn('bad', self.links(24)['f>base'])
        self.assertEqual(self.links(22)['f>base'], ['link', 'frozen', 'leased'])
        self.assertEqual(self.links(23)['f>base'], ['link', 'frozen', 'leased', 'suspect'])
        self.assertIn('still frozen by c', self.dom('#step=25'))

    def test_the_bug_what_the_user_does_and_the_failure_are_moments(self):
        self.assertEqual(self.moment(23)['kinds'], ['bug'])
        self.assertEqual(self.moment(23)['text'], 'party-5, woken from: job.wait; here the restored '
                                                  'bug acts: in End() of freeze.cc')
        self.assertIn("user starts commit job 'c'", self.moment(1)['text'])
        self.assertIn('failure', self.moment(29)['kinds'])
        self.assertIsNone(self.moment(10), 'nothing happens there')

    def test_a_node_that_comes_back_is_told_with_the_step_that_took_it_away(self):
        self.assertIn("it lives on only because s holds it as 'base'", self.moment(26)['text'])
        self.assertIn('f is back below a disk, from where it was taken away in step 26',
                      self.moment(28)['text'])

    def test_moments_are_buttons_ticks_and_stops(self):
        count = len(self.answer('moments'))
        dom = self.dom()
        self.assertEqual(len(re.findall(r'<button class="moment', dom)), count)
        self.assertEqual(len(re.findall(r'class="tick', dom)), count)
        self.assertEqual(self.step(self.dom('#step=24', self.press('n'))), 26)
        self.assertEqual(self.step(self.dom('#step=24', self.press('p'))), 23)
        click = 'document.querySelector(\'#moments [data-step="28"]\').click();'
        self.assertEqual(self.step(self.dom('#step=0', click)), 28)

    def test_a_step_says_what_it_changed_and_what_was_before(self):
        self.assertIn('changes: top now stands on base, before on f', self.changes(26))
        self.assertIn("changes: s holds f as 'base'", self.changes(26))
        self.assertIn("changes: job 'c': running \u2192 pending", self.changes(22))
        self.assertIn('changes: drive0: requests under way 0 \u2192 1', self.changes(28))
        self.assertEqual(self.changes(12)[1:], ['changes: nothing'])

    def test_a_replaced_link_stays_for_a_step_beside_the_new_one(self):
        links = self.links(26)
        self.assertIn('changed', links['top>base'])
        self.assertIn('gone', links['gone top>f'])
        self.assertNotIn('gone top>f', self.links(27))
        self.assertNotIn('changed', self.links(27)['top>base'])

    def test_nodes_keep_their_places_and_links_go_around_them(self):
        places = self.answer('steps.map((step) => { show(step.index); return Object.fromEntries('
                             '[...document.querySelectorAll("#graph [data-node]")].map((each) => ['
                             'each.dataset.node, ["x", "y"].map((one) => '
                             'each.querySelector("rect").getAttribute(one)).join()])); })')
        for name in ('top', 'f', 'base'):
            self.assertEqual(len({each[name] for each in places}), 1, name)
        # Between top and base stands f: straight down, the new link would go through it.
        crossed = self.answer(
            '(() => { const path = document.querySelector(\'[data-edge="top>base"] path\'), box = '
            'document.querySelector(\'[data-node="f"] rect\').getBBox(); let count = 0; '
            'for (let at = 0; at <= path.getTotalLength(); ++at) { const p = '
            'path.getPointAtLength(at); if (p.x > box.x && p.x < box.x + box.width && '
            'p.y > box.y && p.y < box.y + box.height) ++count; } return count; })()', '#step=27')
        self.assertEqual(crossed, 0)

    def test_nothing_in_the_drawing_covers_anything_else(self):
        self.assertEqual(self.answer(COLLISIONS), [])

    def test_what_the_failure_names_is_marked_in_the_drawing_where_it_fails(self):
        self.assertIn('blamed', self.links(29)['top>f'])
        self.assertIn('blamed', self.links(29)['f>base'])
        blamed = ('[...document.querySelectorAll(".blamed")].map((each) => '
                  'each.dataset.node || each.dataset.job || each.dataset.edge)')
        self.assertEqual(set(self.answer(blamed, '#step=29')), {'f', 's', 'top>f', 'f>base'})
        self.assertEqual(self.answer(blamed, '#step=28'), [])

    def test_what_the_failure_names_is_outlined_from_where_the_bug_acts(self):
        suspects = ('[...document.querySelectorAll(".suspect")].map((each) => each.dataset.node || '
                    'each.dataset.job || each.dataset.edge)')
        self.assertEqual(set(self.answer(suspects, '#step=23')), {'f', 's', 'top>f', 'f>base'})
        self.assertEqual(self.answer(suspects, '#step=22'), [])
        self.assertEqual(self.answer(suspects, '#step=29'), [])
        color = ('getComputedStyle(document.querySelector(\'#graph [data-node="{}"] .box\')).stroke')
        self.assertEqual(self.answer(color.format('f'), '#step=23'),
                         self.answer(color.format('f'), '#step=29'))
        self.assertNotEqual(self.answer(color.format('f'), '#step=22'),
                            self.answer(color.format('f'), '#step=23'))

    def test_both_counts_of_requests_are_drawn_where_they_differ(self):
        words = self.answer('[...document.querySelectorAll(\'#graph [data-node="top"] text\')]'
                            '.map((each) => [...each.querySelectorAll("title")].reduce((text, '
                            'title) => text.replace(title.textContent, ""), each.textContent))',
                            '#step=28')
        self.assertIn('0 in flight', words)
        self.assertIn('drive0: root (1 under way)', words)

    def test_jobs_are_shown_with_their_states(self):
        jobs = self.answer('[...document.querySelectorAll("#jobs .job")].map((each) => '
                           '`${each.dataset.job} ${each.lastChild.textContent}`)', '#step=22')
        self.assertEqual(jobs, ['c commit \u00b7 running \u2192 pending', 's stream \u00b7 running'])
        later = self.answer('[...document.querySelectorAll("#jobs .job.over")].map((each) => '
                            'each.dataset.job)', '#step=25')
        self.assertEqual(later, ['c'])

    def test_background_steps_are_one_row_that_opens(self):
        visible = ('[...document.querySelectorAll("#lanes tr.step")].filter((row) => '
                   'row.offsetHeight > 0).map((row) => Number(row.id.slice(5)))')
        self.assertEqual(set(range(2, 22)) & set(self.answer(visible, '#step=24')), set())
        self.assertIn('20 steps in the background', self.dom('#step=24'))
        self.assertIn(12, self.answer(visible, '#step=12'))
        opened = self.answer('(() => { document.querySelector(".fold-head").click(); return '
                             f'{visible}; }})()', '#step=24')
        self.assertIn(12, opened)

    def test_the_lanes_follow_the_current_step_sideways(self):
        seen = self.answer('[29, 1, 28].map((step) => { show(step); const box = '
                           'byId("lanes").getBoundingClientRect(), block = document.querySelector('
                           '".block.current").getBoundingClientRect(); return block.left >= '
                           'box.left + 40 && block.right <= box.right && block.top >= box.top && '
                           'block.bottom <= box.bottom; })')
        self.assertEqual(seen, [True, True, True])

    def test_steps_are_named_by_what_happened_else_by_what_woke_them(self):
        text = {step: self.answer('document.querySelector(".block.current").textContent',
                                  f'#step={step}') for step in (0, 1, 12, 22, 26)}
        self.assertEqual(text, {0: 'starts', 1: "starts commit job 'c'", 12: 'woken from: job.wait',
                                22: 'c pending', 26: 'top\u2192base'})

    def test_a_clock_that_stands_still_is_not_shown_nor_a_doubt_that_has_no_ground(self):
        words = self.answer('document.body.innerText', '#step=29')
        self.assertNotRegex(words, r'\b\d+ ms\b')
        self.assertEqual(self.answer('document.querySelectorAll("#lanes .time").length'), 0)
        self.assertNotIn('may be missing', words)

    def test_the_explanation_has_labels_and_the_words_are_explained(self):
        self.assertEqual(self.answer('[...document.querySelectorAll("#wrong div b")].map((each) =>'
                                     ' each.textContent)'), ['The bug', 'The scene'])
        for word in ('drained section', 'frozen', 'claims', 'filter', 'base', 'production',
                     'in flight', 'marks', 'pivot', 'monitor', 'version', 'root', 'main node',
                     'orphan'):
            self.assertIn(f'<dt>{word}</dt>', self.dom())


# Elements of which a part is cut off by the boxes they are in.
CUT = """(ids) => ids.filter((id) => {
  const box = byId(id).getBoundingClientRect();
  for (let around = byId(id).parentElement; around; around = around.parentElement) {
    const frame = around.getBoundingClientRect();
    if (getComputedStyle(around).overflow !== 'visible' &&
        (box.bottom > frame.bottom + 1 || box.top < frame.top - 1)) return true;
  }
  return box.bottom > innerHeight || byId(id).scrollHeight > byId(id).clientHeight + 1;
})"""


class StoryOfALostWrite(Page):
    """Told by replay_page_story_test.cc: a write lands on 'a' in step 7 and never on 't'."""
    NAME = 'mirror.html'

    def moments(self):
        return {each['step']: each for each in self.answer('moments')}

    def lines(self, step):
        return self.answer('[...document.querySelectorAll("#now p")].map((each) => '
                           '[...each.children].map((part) => part.textContent).join(": "))',
                           f'#step={step}')

    def words_of(self, node, step):
        return self.answer(f'[...document.querySelectorAll(\'#graph [data-node="{node}"] text\')]'
                           '.map((each) => [...each.querySelectorAll("title")].reduce((text, '
                           'title) => text.replace(title.textContent, ""), each.textContent))',
                           f'#step={step}')

    # ---- Time ----
    def test_a_jump_of_the_clock_is_a_moment_that_says_who_has_slept(self):
        moment = self.moments()[11]
        self.assertIn('time', moment['kinds'])
        self.assertIn('49.999 s pass: m has slept (job.sleep)', moment['text'])
        self.assertIn('time: 49.999 s pass, it is now 50 s', self.lines(11))
        self.assertNotIn(4, self.moments(), 'a millisecond is no jump')

    def test_lanes_and_moments_show_the_time_where_it_moves_only(self):
        lanes = self.answer('[...document.querySelectorAll("#lanes tr.step td.time")].map((cell, '
                            'step) => cell.textContent ? `${step} ${cell.textContent}` : "")'
                            '.filter(Boolean)')
        self.assertEqual(lanes, ['0 0 ms', '4 1 ms', '11 50 s'])
        times = self.answer('[...document.querySelectorAll("#moments i")].map((each) => '
                            'each.textContent).filter(Boolean)')
        self.assertEqual(times, ['0 ms', '1 ms', '50 s'])

    # ---- Data ----
    def test_what_fails_on_a_disk_is_a_moment_and_does_not_look_done(self):
        moment = self.moments()[10]
        self.assertIn('fault', moment['kinds'])
        self.assertIn('fails: write sector 8 of t: EIO, without effect \u2192 m',
                      moment['text'])
        self.assertNotIn('done', ' '.join(self.lines(10)))

    def test_steps_that_move_data_say_so(self):
        self.assertIn('guest: drive0: write of sector 3 begins (version 2)', self.lines(5))
        self.assertIn('i/o: begins: write sector 3 of a', self.lines(5))
        self.assertEqual(self.lines(4)[0],
                         'runs: i/o, done: write sectors 0-1 of t, for piece #2 \u00b7 at 1 ms')

    def test_where_the_sector_was_written_that_the_failure_is_about_is_told_and_drawn(self):
        moments = self.moments()
        self.assertIn('writer: write of sector 3 begins (version 2)', moments[5]['text'])
        self.assertIn('done: write sector 3 of a, for writer', moments[7]['text'])
        self.assertIn('done: write sector 3 of t, for piece', moments[3]['text'])
        self.assertNotIn(4, moments, 'another place')
        self.assertIn('sector 3: version 2 (step 7)', self.words_of('a', 9))
        self.assertIn('sector 3: copied in step 3', self.words_of('t', 9))
        self.assertNotIn('sector 3', ' '.join(self.words_of('a', 6)))

    def test_marks_are_on_the_box_and_in_what_changes(self):
        self.assertTrue(any('1 mark' in words for words in self.words_of('f', 8)))
        self.assertIn('changes: f: 0 marks \u2192 1 mark', self.lines(8))
        self.assertIn("changes: filter 'f' goes (1 mark)", self.lines(12))

    # ---- Drains ----
    def test_a_drain_has_a_number_an_owner_and_names_each_node_once(self):
        self.assertIn("changes: m's drain 1 of f, a begins and waits for 1 request in flight on f",
                      self.lines(6))
        self.assertIn("changes: m's drain 1 of f, a is complete", self.lines(8))
        self.assertIn('drained by m (drain 1)', self.words_of('a', 8))

    def test_a_drain_is_its_owners_whoever_takes_the_step_else_whoevers_who_began_it(self):
        self.assertEqual(self.answer('[laneOf(steps[8]), sentenceOf(steps[8], 3)]'),
                         ['writer', "m's drain 1 of f, a is complete"])
        told = ('(() => { const now = { nodes: [], sections: [{ id: 71, owners: [], roots: ["a"], '
                'covers: ["a"], granted: true }] }; rememberDrains(now, 3, "tester"); return '
                'drainChanges(NOTHING, now).map((each) => each.text); })()')
        self.assertEqual(self.answer(told),
                         ["tester's drain 2 of a begins and is complete at once"])

    def test_draining_is_not_called_drained(self):
        self.assertIn('draining for m (drain 1)', self.words_of('f', 6))
        kinds = ('document.querySelector(\'#graph [data-node="f"]\').getAttribute("class")')
        self.assertIn('draining', self.answer(kinds, '#step=6').split())
        self.assertNotIn('drained', self.answer(kinds, '#step=6').split())
        self.assertIn('drained', self.answer(kinds, '#step=8').split())

    def test_one_request_counts_once_and_a_drainers_own_is_called_so(self):
        self.assertIn('1 in flight', self.words_of('f', 5))
        self.assertIn("1 in flight, m's own", self.words_of('t', 9))

    def test_what_somebody_else_has_in_flight_in_a_drain_is_not_called_the_drainers(self):
        words = self.answer('(() => { const f = steps[9].graph.nodes.find((node) => node.name === '
                            '"f"); f.users[0]["in-flight"] = 1; f.requests = 2; show(9); return '
                            '[...document.querySelectorAll("#graph .badge text")].map((each) => '
                            'each.textContent); })()')
        self.assertEqual(sorted(words), ['1 in flight', "1 in flight, m's own"])

    def test_a_drain_that_a_job_leaves_behind_is_red_where_it_is(self):
        wrong = ('[...document.querySelectorAll("#graph .drain.wrong")].map((each) => '
                 'each.parentNode.dataset.node + ": " + each.firstChild.textContent)')
        self.assertEqual(self.answer(wrong, '#step=13'),
                         ['t: still drained by m since step 6', 'a: still drained by m since step 6'])
        self.assertEqual(self.answer(wrong, '#step=12'), [])
        self.assertIn('still drained by m since step 6 (drain 1)', self.moments()[13]['text'])

    def test_red_is_for_what_is_wrong_and_not_for_what_goes(self):
        color = ('getComputedStyle(document.querySelector(\'#graph [data-node="{}"] .box\')).stroke')
        red = self.answer(color.format('a'), '#step=13')
        self.assertNotEqual(self.answer(color.format('f'), '#step=12'), red)
        self.assertIn('line-through', self.answer(
            'getComputedStyle(document.querySelector("#graph .dead .name")).textDecorationLine',
            '#step=12'))

    # ---- Where to look ----
    def test_opens_where_the_bug_acts_last_before_things_go_wrong(self):
        self.assertEqual(self.step(self.dom()), 9)

    def test_of_equal_acts_of_the_bug_in_a_row_it_opens_at_the_first(self):
        again = ('(() => { steps[12].told = steps[9].told; steps[12].operations = steps[9].operations; '
                 'steps[12].changes = []; const { step, times } = placeOfBug(); return [step.index, '
                 'times]; })()')
        self.assertEqual(self.answer(again), [9, 2])
        self.assertEqual(self.answer(again.replace('steps[9].operations', '[]')), [12, 1])

    def test_a_moment_of_the_bug_says_what_was_done_there_first(self):
        moments = self.moments()
        self.assertEqual(moments[6]['text'],
                         "m's drain 1 of f, a begins and waits for 1 request in flight on f; here the "
                         'restored bug acts: the marks are not looked at again (in Look() of m.cc)')
        self.assertEqual(moments[9]['text'],
                         'm, woken from: drain.begin: begins to write sector 8 of t; here the restored '
                         'bug acts: the marks are not looked at again (in Look() of m.cc)')

    def test_the_plain_sentence_comes_first_and_the_raw_text_once(self):
        words = self.answer('document.body.innerText', '#step=13')
        self.assertEqual(words.count('DATA_LOSS'), 1)
        self.assertLess(words.index('The guest does not read'), words.index('DATA_LOSS'))
        self.assertIn('failure: it fails: The guest does not read what it wrote last.',
                      self.lines(13)[1])

    def test_copies_of_one_kind_share_a_lane_and_who_acts_at_the_bug_stands_first(self):
        lanes = self.answer('[...document.querySelectorAll("#lanes thead th")].map((each) => '
                            'each.textContent)')
        self.assertEqual(lanes[:3], ['step', 'time', 'm'])
        self.assertEqual(sorted(lanes[2:]), ['i/o', 'm', 'piece', 'scene', 'timers', 'writer'])
        self.assertTrue(self.answer('document.querySelector("#step-2 .block").textContent'
                                    '.startsWith("#2 ")'))

    def test_the_empty_schedule_is_explained(self):
        self.assertIn("('-': production's order, no deviation)",
                      self.answer('byId("again").innerText'))

    def test_the_callers_words_are_in_the_glossary(self):
        self.assertIn('<dt>I2</dt><dd>a disk shows &lt;what&gt; its guest wrote last</dd>',
                      self.dom())

    # ---- Room ----
    def test_letters_are_large_enough_where_there_is_little_room_too(self):
        sizes = ('[...document.querySelectorAll("#graph text")].filter((each) => each.textContent)'
                 '.map((each) => parseFloat(getComputedStyle(each).fontSize) * layout.scale)')
        for size in (WIDE, NARROW, '640,480'):
            self.assertGreaterEqual(min(self.answer(sizes, '#step=9', size)), 10.9, size)
            self.assertEqual(self.answer(COLLISIONS, '', size), [], size)

    def test_the_disks_own_chain_stands_left_of_the_copy(self):
        left = 'document.querySelector(\'#graph [data-node="{}"] rect\').x.baseVal.value'
        self.assertLess(self.answer(left.format('f'), '#step=9'),
                        self.answer(left.format('t'), '#step=9'))

    def test_nothing_that_matters_is_cut_at_both_sizes(self):
        for size in (WIDE, NARROW):
            self.assertEqual(self.answer(f'({CUT})(["wrong", "plain", "explanation", "replay"])',
                                         '#step=9', size), [], size)

    def test_the_end_and_the_heading_of_the_moments_stay_in_sight(self):
        seen = ('[document.querySelector("#moments .failure"), document.querySelector("#why h2")]'
                '.map((each) => { const box = each.getBoundingClientRect(), frame = '
                'byId("why").getBoundingClientRect(); return box.top >= frame.top && '
                'box.bottom <= frame.bottom + 1; })')
        for fragment in ('#step=0', '#step=13'):
            self.assertEqual(self.answer(seen, fragment, NARROW), [True, True], fragment)

    def test_the_slider_keeps_its_place(self):
        places = self.answer('[...new Set(steps.map((step) => { show(step.index); const box = '
                             'byId("slider").getBoundingClientRect(); return [box.left, box.right]'
                             '.join(); }))]', '', NARROW)
        self.assertEqual(len(places), 1)

    def test_the_glossary_covers_neither_the_steps_nor_more_than_the_window(self):
        box = self.answer('(() => { byId("glossary").open = true; const dl = document.querySelector('
                          '"#glossary dl").getBoundingClientRect(), where = byId("where")'
                          '.getBoundingClientRect(); return [dl.top >= where.bottom, dl.bottom <= '
                          'innerHeight, dl.left >= 0]; })()', '', NARROW)
        self.assertEqual(box, [True, True, True])


class RunThatWentWell(Page):
    NAME = 'well.html'

    def test_has_no_empty_boxes(self):
        shown = ('["why", "orders", "again", "arrows", "plain", "background"].filter((id) => '
                 'byId(id).offsetHeight > 0)')
        self.assertEqual(self.answer(shown), [])


if __name__ == '__main__':
    if BROWSER is None:
        print('no chromium: skipped')
        sys.exit(77)
    EXPLORE_TEST = sys.argv.pop(1)
    unittest.main()
