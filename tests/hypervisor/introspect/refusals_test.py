"""Every refusal of a command about jobs carries data: why, what is concerned, who is in the way
since when, and what to do next. Only millraced has it."""

import os
import unittest
import unittest.mock

from support.case import Case
from support.images import MIB

STREAM = 'block-stream'
COMMIT = 'block-commit'
MIRROR = 'blockdev-mirror'


class RefusalData(Case):
    """top (drive0) <- n3 <- n2 <- n1 <- n0, a slow stream 's' of n3 down to n1, and a node 'free'
    beside them."""

    def setUp(self):
        super().setUp()
        paths = self.images.chain('0.img', '1.img', '2.img', '3.img', 'top.img')
        self.images.io('2.img', 'write -P 1 0 1M')
        options, prefix = 'node-name=top', 'backing.'
        for i in (3, 2, 1, 0):
            options += f',{prefix}node-name=n{i}'
            prefix += 'backing.'
        self.paths = paths
        self.vm.blockdev({'driver': 'null-co', 'node-name': 'free', 'size': MIB})
        self.vm.drive(paths[-1], options).launch()
        self.vm.command(STREAM, device='n3', base_node='n1', job_id='s', speed=1024,
                        filter_node_name='cor')

    def refused(self, name, **arguments):
        reply = self.vm.reply(name, **arguments)
        self.assertIn('error', reply, (name, arguments))
        return reply['error']

    def check(self, reason, obj, name, holder=None, **arguments):
        with self.subTest(command=name, arguments=arguments):
            error = self.refused(name, **arguments)
            data = error.get('data', {})
            self.assertEqual((data.get('reason'), data.get('object')), (reason, obj), error)
            self.assertNotEqual(data.get('next-step', ''), '', error)
            if holder:
                first = data['holders'][0]
                self.assertEqual((first['id'], first['type']), holder)
                self.assertGreater(first['since-ns'], 0)

    def test_whoever_is_in_the_way_is_named(self):
        stream = ('s', 'stream job')
        for name, obj, arguments in (
                (STREAM, 'n3', dict(device='n3', job_id='x')),
                (STREAM, 'n2', dict(device='n2', job_id='x')),
                (STREAM, 'cor', dict(device='drive0', base_node='n1', job_id='x')),
                (COMMIT, 'n3', dict(device='drive0', job_id='x', top=self.paths[3],
                                    base=self.paths[1])),
                (COMMIT, 'cor', dict(device='drive0', job_id='x', base=self.paths[0]))):
            self.check('node-busy', obj, name, stream, **arguments)

    def test_names_that_lead_nowhere(self):
        for name, obj, arguments in (
                (STREAM, 'none', dict(device='none')),
                (STREAM, 'none', dict(device='drive0', base_node='none')),
                (STREAM, 'none', dict(device='drive0', bottom='none')),
                (COMMIT, 'none', dict(device='none')),
                (COMMIT, 'none', dict(device='drive0', top_node='none')),
                (MIRROR, 'none', dict(device='none', target='free', sync='full')),
                (MIRROR, 'none', dict(device='drive0', target='none', sync='full'))):
            self.check('unknown-node', obj, name, **arguments)

    def test_places_that_do_not_fit(self):
        for reason, obj, name, arguments in (
                ('not-backing', 'top', STREAM, dict(device='n1', base_node='top', job_id='x')),
                ('not-backing', 'free', STREAM, dict(device='drive0', base_node='free')),
                ('not-in-chain', 'free', STREAM, dict(device='drive0', bottom='free')),
                ('is-filter', 'cor', STREAM, dict(device='drive0', bottom='cor')),
                ('not-in-chain', 'none.img', STREAM, dict(device='drive0', base='none.img')),
                ('not-in-chain', 'none.img', COMMIT, dict(device='drive0', top='none.img')),
                ('not-in-chain', 'none.img', COMMIT, dict(device='drive0', base='none.img')),
                ('not-in-chain', 'free', COMMIT, dict(device='drive0', base_node='free')),
                # Who is busy is told before what is the same, and that before whose overlay is
                # busy, as in QEMU.
                ('node-busy', 'n2', COMMIT, dict(device='drive0', top_node='n2', base_node='n2')),
                ('same-node', 'n1', COMMIT, dict(device='drive0', top_node='n1', base_node='n1')),
                ('node-busy', 'n2', COMMIT, dict(device='drive0', top_node='n1', base_node='n0')),
                ('same-node', 'top', MIRROR, dict(device='drive0', target='top', sync='full')),
                ('mutually-exclusive', 'drive0', STREAM,
                 dict(device='drive0', base='x', base_node='y')),
                ('mutually-exclusive', 'drive0', COMMIT,
                 dict(device='drive0', top='x', top_node='y')),
                ('mutually-exclusive', 'drive0', COMMIT,
                 dict(device='drive0', base='x', base_node='y'))):
            self.check(reason, obj, name, **arguments)

    def test_ids_and_speeds(self):
        for reason, obj, arguments in (
                ('duplicate-job-id', 's', dict(device='n0', job_id='s')),
                ('malformed-job-id', '1', dict(device='n1', base_node='n0', job_id='1')),
                ('missing-job-id', 'n1', dict(device='n1', base_node='n0')),
                ('negative-speed', 'x', dict(device='n1', base_node='n0', job_id='x', speed=-1))):
            self.check(reason, obj, STREAM, **arguments)

    def test_verbs(self):
        for reason, name, arguments in (
                ('verb-not-accepted', 'job-complete', dict(id='s')),
                ('verb-not-accepted', 'job-finalize', dict(id='s')),
                ('verb-not-accepted', 'job-dismiss', dict(id='s')),
                ('not-paused', 'job-resume', dict(id='s')),
                ('negative-speed', 'block-job-set-speed', dict(device='s', speed=-1))):
            self.check(reason, 's', name, **arguments)
        self.vm.command('job-pause', id='s')
        self.check('already-paused', 's', 'job-pause', id='s')
        self.check('paused-needs-force', 's', 'block-job-cancel', device='s')
        for name, key in (('job-pause', 'id'), ('block-job-pause', 'device'),
                          ('job-cancel', 'id'), ('block-job-complete', 'device')):
            self.check('unknown-job', 'none', name, **{key: 'none'})


class WithoutData(Case):
    """--qmp-error-data off: refusals as QEMU has them, for tests that print whole replies."""

    def test_nothing_but_class_and_text(self):
        options = os.environ.get('MILLRACED_OPTIONS', '') + ' --qmp-error-data off'
        with unittest.mock.patch.dict(os.environ, MILLRACED_OPTIONS=options):
            self.vm.launch()
        self.assertEqual(self.vm.reply('block-job-cancel', device='none')['error'],
                         {'class': 'DeviceNotActive', 'desc': "Block job 'none' not found"})


if __name__ == '__main__':
    unittest.main()
