"""x-millrace-plan of what is said to jobs: refused as the verb is, by the job itself too. Only
millraced."""

import unittest

from support.images import MIB
from support.plan_case import PlanCase


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


if __name__ == '__main__':
    unittest.main()
