"""x-millrace-explain: who holds what, who waits for whom, since when. Only millraced has it."""

import unittest

from support.case import Case
from support.images import MIB

OBSTACLE = "1 requests in flight on node 'top'"


class Explain(Case):
    def setUp(self):
        super().setUp()
        paths = self.images.chain('base.img', 'mid.img', 'top.img')
        self.images.io('mid.img', 'write -P 1 0 1M')
        self.vm.drive('blkdebug::' + paths[-1],
                      'node-name=top,backing.node-name=mid,backing.backing.node-name=base')
        self.vm.launch()

    def holder(self, told, kind, ident):
        found = [one for one in told['holders'] if (one['type'], one['id']) == (kind, ident)]
        self.assertEqual(len(found), 1, [(one['type'], one['id']) for one in told['holders']])
        return found[0]

    def test_a_quiet_daemon_names_the_users_of_its_nodes(self):
        told = self.vm.command('x-millrace-explain')
        self.assertEqual(told['jobs'], [])
        drive = self.holder(told, 'block device', 'drive0')
        self.assertEqual([(one['node'], one['as']) for one in drive['attachments']],
                         [('top', 'root')])
        self.assertNotIn('cycle', told)
        self.assertIn('backing -> mid', told['text'])
        self.assertIn('digraph', self.vm.command('x-millrace-explain', dot=True)['dot'])

    def test_a_job_holds_its_nodes_and_links(self):
        self.vm.command('block-stream', device='drive0', base_node='base', speed=1024,
                        filter_node_name='cor')
        told = self.vm.command('x-millrace-explain')
        self.assertEqual([(job['id'], job['type']) for job in told['jobs']], [('drive0', 'stream')])
        job = self.holder(told, 'stream job', 'drive0')
        self.assertEqual({claim['node'] for claim in job['claims']}, {'cor', 'top', 'mid'})
        self.assertEqual({(lease['from'], lease['to']) for lease in job['leases']},
                         {('cor', 'top'), ('top', 'mid')})
        self.assertLess(0, job['since'])
        self.assertLessEqual(job['since'], told['now'])

    def test_a_completion_that_waits_says_for_whom(self):
        # The guest's write stands still, in a place that the job has nothing to do with; so the job
        # cannot bring its disk to rest at its end.
        self.vm.io('drive0', 'write 900K 512')
        self.vm.command('block-stream', device='drive0', speed=1024)
        while self.job()['offset'] == 0:
            pass  # its first piece is written; then it stands still
        self.vm.io('drive0', 'break write_aio stuck')
        self.vm.io('drive0', 'aio_write 900K 512')
        self.vm.io('drive0', 'wait_break stuck')
        self.vm.command('block-job-set-speed', device='drive0', speed=0)
        self.wait_status('drive0', 'pending')
        sections = []
        while not sections:
            told = self.vm.command('x-millrace-explain')
            sections = [one for one in told['graph']['sections'] if not one['granted']]
        self.assertEqual([owner['id'] for owner in sections[0]['owners']], ['drive0'])
        self.assertEqual(sections[0]['roots'], ['top'])
        self.assertEqual(sections[0]['waits-for'], OBSTACLE)
        self.assertLess(0, sections[0]['since'])
        job = self.holder(told, 'stream job', 'drive0')
        self.assertFalse(job['sections'][0]['granted'])
        self.assertEqual(job['sections'][0]['waits-for'], OBSTACLE)
        waiting = [one for one in told['waits'] if one['at'] == 'drain.begin']
        self.assertEqual([(one['who'], one['for'], one['held-by']) for one in waiting],
                         [('drive0', "drain of 'top'", [OBSTACLE])])
        self.assertNotIn('cycle', told)  # the break point is let go from outside
        self.assertLess(0, waiting[0]['since'])
        self.assertLessEqual(waiting[0]['since'], told['now'])
        self.assertLessEqual(sections[0]['since'], told['now'])
        again = self.vm.command('x-millrace-explain')
        self.assertEqual([one['since'] for one in again['waits'] if one['at'] == 'drain.begin'],
                         [waiting[0]['since']])
        self.vm.io('drive0', 'remove_break stuck')
        self.wait_ended('drive0')

    def test_requests_that_wait_say_for_what_and_held_by_whom(self):
        """A guest's writes: one at a break point, one behind the drain that waits for that.

        No test makes them wait for each other in a circle, as no sequence of commands does: a drain
        lets go of requests that it holds back itself, and whoever stands at a break point is let go
        by a client. Circles are found in tests/engine.
        """
        self.vm.io('drive0', 'write 900K 512')
        self.vm.command('block-stream', device='drive0', speed=1024,
                        filter_node_name='cor')
        while self.job()['offset'] == 0:
            pass
        self.vm.io('drive0', 'break write_aio stuck')
        self.vm.io('drive0', 'aio_write 900K 512')
        self.vm.io('drive0', 'wait_break stuck')
        self.vm.command('block-job-set-speed', device='drive0', speed=0)
        self.wait_status('drive0', 'pending')
        while not self.vm.command('x-millrace-explain')['graph']['sections']:
            pass
        self.vm.io('drive0', 'aio_write 901K 512')
        told = self.vm.command('x-millrace-explain')
        waits = [one for one in told['waits'] if one['who'] == 'aio_write']
        self.assertEqual({(one['for'], *one['held-by']) for one in waits},
                         {("break point 'stuck'; resume it",),
                          ("the drain of 'cor'", "drained section of stream job 'drive0'")})
        self.assertEqual({one['can-run'] for one in waits}, {False})
        self.vm.io('drive0', 'remove_break stuck')
        self.wait_ended('drive0')


if __name__ == '__main__':
    unittest.main()
