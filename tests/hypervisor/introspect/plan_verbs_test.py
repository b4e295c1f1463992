"""x-millrace-plan of what is said to jobs: refused as the verb is, by the job itself too; and what
ends a job has the graph that is there when it has ended. Only millraced."""

import unittest

from support.images import MIB
from support.plan_case import PlanCase, picture


class PlanOfVerbs(PlanCase):
    def setUp(self):
        super().setUp()
        self.vm.blockdev({'driver': 'raw', 'node-name': 'raw', 'file': {
            'driver': 'file', 'filename': self.images.create('raw.img', MIB, 'raw')}})
        self.vm.blockdev({'driver': 'null-co', 'node-name': 't', 'size': MIB})
        self.vm.launch()

    def complete(self, text, job):
        self.refused(text, 'job-complete', id=job)
        self.refused(text, 'block-job-complete', device=job)

    def test_a_mirror_is_completed_when_it_is_ready(self):
        self.complete('not found', 'm')
        self.vm.command('blockdev-mirror', device='raw', target='t', sync='full', job_id='m',
                        speed=1)
        self.complete("cannot accept command verb 'complete'", 'm')
        self.vm.command('block-job-set-speed', device='m', speed=0)
        self.wait_ready('m', 'mirror')
        self.assertTrue(self.ask('job-complete', {'id': 'm'})['accepted'])
        self.assertEqual(self.vm.command('query-jobs')[0]['status'], 'ready')

    def test_a_mirror_whose_source_has_another_length_is_not(self):
        self.vm.command('blockdev-mirror', device='raw', target='t', sync='full', job_id='m')
        self.wait_ready('m', 'mirror')
        options = {'driver': 'raw', 'node-name': 'raw', 'size': MIB // 2, 'file': {
            'driver': 'file', 'filename': self.images.path('raw.img')}}
        self.vm.command('blockdev-reopen', options=[options])
        self.complete('Source and target image have different sizes', 'm')
        self.vm.command('blockdev-reopen', options=[{**options, 'size': MIB}])
        self.assertTrue(self.ask('block-job-complete', {'device': 'm'})['accepted'])
        self.vm.command('block-job-complete', device='m')

    def test_a_job_that_ends_by_itself_is_not(self):
        self.vm.command('blockdev-create', job_id='c', options={
            'driver': 'file', 'filename': str(self.folder / 'made.img'), 'size': MIB})
        self.wait_status('c', 'concluded')
        self.refused("cannot accept command verb 'complete'", 'job-complete', id='c')
        self.refused('not found', 'block-job-complete', device='c')  # it is no block job


class PlanOfEnds(PlanCase):
    """top (drive0) <- mid <- base, and a null node 't'."""

    def setUp(self):
        super().setUp()
        paths = self.images.chain('base.img', 'mid.img', 'top.img')
        self.images.io('mid.img', 'write -P 1 0 1M')
        self.vm.blockdev({'driver': 'null-co', 'node-name': 't', 'size': MIB})
        self.vm.drive(paths[-1], 'node-name=top,backing.node-name=mid,'
                                 'backing.backing.node-name=base').launch()

    def ends(self, command, status='null', **arguments):
        """The job 'j' reaches the state by that, and the graph is the plan's."""
        with self.subTest(command=command, arguments=arguments):
            plan = self.ask(command, arguments)
            self.assertTrue(plan['accepted'], plan)
            self.vm.qmp.take_events()
            self.vm.command(command, **arguments)
            self.wait_status('j', status)
            self.assertEqual(picture(plan['graph']), self.graph())
        return plan

    def goes_on(self, command, **arguments):
        """The job does not end by that; nor does the plan say so."""
        plan = self.ask(command, arguments)
        self.assertTrue(plan['accepted'], plan)
        self.assertNotIn('graph', plan)
        self.vm.command(command, **arguments)
        return plan

    def start(self, command, event, **more):
        self.vm.command(command, device='drive0', job_id='j', **more)
        if event is not None:
            self.vm.qmp.wait_event(event)

    def pending(self, command, **more):
        self.start(command, 'BLOCK_JOB_PENDING', auto_finalize=False, **more)

    def test_a_stream(self):
        self.start('block-stream', None, base_node='base', speed=1)
        self.ends('job-cancel', id='j')
        self.pending('block-stream', base_node='base')
        self.ends('block-job-cancel', device='j')
        self.pending('block-stream', base_node='base')
        plan = self.ends('job-finalize', id='j')
        self.assertIn("link 'top' -backing-> 'base' instead of 'mid'", plan['steps'])

    def test_a_stream_that_is_kept(self):
        """It names its nodes until it is dismissed."""
        self.start('block-stream', None, base_node='base', speed=1, auto_dismiss=False)
        self.ends('job-cancel', 'concluded', id='j')
        self.ends('block-job-dismiss', id='j')
        self.pending('block-stream', base_node='base', auto_dismiss=False)
        self.ends('block-job-finalize', 'concluded', id='j')
        self.ends('job-dismiss', id='j')

    def test_a_stream_into_an_image_that_was_read_only(self):
        self.vm.command('block-stream', device='mid', job_id='j', auto_finalize=False)
        self.vm.qmp.wait_event('BLOCK_JOB_PENDING')
        self.assertIn("make 'mid' read-only", self.ends('job-finalize', id='j')['steps'])

    def test_a_commit(self):
        self.pending('block-commit', top_node='mid')
        self.ends('job-cancel', id='j')
        self.pending('block-commit', top_node='mid', auto_dismiss=False)
        self.ends('job-finalize', 'concluded', id='j')
        self.ends('job-dismiss', id='j')

    def test_a_commit_of_the_top(self):
        for command, arguments in (('block-job-cancel', dict(device='j')),
                                   ('block-job-cancel', dict(device='j', force=True)),
                                   ('job-cancel', dict(id='j')),
                                   ('block-job-complete', dict(device='j'))):
            self.start('block-commit', 'BLOCK_JOB_READY')
            self.ends(command, **arguments)

    def test_a_mirror(self):
        for command, arguments in (('block-job-cancel', dict(device='j')),
                                   ('block-job-cancel', dict(device='j', force=True)),
                                   ('job-cancel', dict(id='j')),
                                   ('job-complete', dict(id='j'))):
            self.start('blockdev-mirror', 'BLOCK_JOB_READY', target='t', sync='full')
            plan = self.ends(command, **arguments)
        self.assertIn('whether its last writes succeed; if not, it takes down what it set up',
                      plan['unknown'])

    def test_a_mirror_that_waits_to_be_finalized(self):
        for command, arguments in (('block-job-cancel', dict(device='j')),
                                   ('block-job-complete', dict(device='j'))):
            self.start('blockdev-mirror', 'BLOCK_JOB_READY', target='t', sync='full',
                       auto_finalize=False)
            plan = self.goes_on(command, **arguments)
            self.assertIn('wait for job-finalize, when the rest has been copied', plan['steps'])
            self.vm.qmp.wait_event('BLOCK_JOB_PENDING')
            self.ends('job-finalize', id='j')

    def test_a_job_that_is_asked_something_else(self):
        self.start('blockdev-mirror', 'BLOCK_JOB_READY', target='t', sync='full')
        self.goes_on('block-job-set-speed', device='j', speed=1 << 20)
        self.goes_on('job-pause', id='j')
        self.goes_on('job-resume', id='j')

    def test_quit(self):
        self.start('blockdev-mirror', 'BLOCK_JOB_READY', target='t', sync='full')
        self.vm.command('nbd-server-start', addr={'type': 'unix', 'data': {
            'path': str(self.folder / 'nbd')}})
        self.vm.command('block-export-add', type='nbd', id='e', node_name='base')
        plan = self.ask('quit', {})
        self.assertEqual(plan['graph']['nodes'], [])
        self.assertEqual(plan['steps'][:2],
                         ['cut off all NBD clients, and listen no more', "end the export 'e'"])
        self.assertEqual(plan['steps'][-3:], ["cancel job 'j'", 'close all drives and nodes',
                                              'end the program'])


if __name__ == '__main__':
    unittest.main()
