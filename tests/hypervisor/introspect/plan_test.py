"""x-millrace-plan: the resulting graph or the exact refusal, and nothing changed. Only millraced."""

import unittest

from support.case import Case
from support.images import MIB


class Plan(Case):
    """n8 (drive0) <- ... <- n0, and 'spare' (qcow2, no backing), 'target' (null) beside it."""

    def setUp(self):
        super().setUp()
        names = [f'{i}.img' for i in range(9)]
        self.paths = self.images.chain(*names)
        self.images.io('2.img', 'write -P 1 0 1M')
        options, prefix = 'node-name=n8', 'backing.'
        for i in range(7, -1, -1):
            options += f',{prefix}node-name=n{i}'
            prefix += 'backing.'
        self.vm.blockdev({'driver': 'null-co', 'node-name': 'target', 'size': MIB})
        self.vm.blockdev({'driver': 'qcow2', 'node-name': 'spare', 'file': {
            'driver': 'file', 'filename': self.images.create('spare.img', MIB)}})
        self.vm.drive(self.paths[-1], options).launch()

    def plan(self, name, **arguments):
        arguments = {key.replace('_', '-'): value for key, value in arguments.items()}
        return self.vm.command('x-millrace-plan', command=name, arguments=arguments)

    def state(self):
        """All that a plan must not change."""
        told = self.vm.command('x-millrace-explain')
        return told['graph'], told['jobs']

    def check(self, after, name, claims=None, **arguments):
        before = self.state()
        heard = len(self.vm.qmp.events())
        plan = self.plan(name, **arguments)
        self.assertTrue(plan['accepted'], plan)
        self.assertEqual(plan['after'], after)
        self.assertNotEqual(plan['steps'], [])
        if claims is not None:
            self.assertEqual(plan['claims'], claims)
        self.assertEqual(self.state(), before)
        self.assertEqual(len(self.vm.qmp.events()), heard)
        return plan

    def test_jobs(self):
        plan = self.check('n4 <- n1 <- n0', 'block-stream', claims=['n4', 'n3', 'n2'], device='n4',
                          base_node='n1', job_id='s')
        self.assertEqual(plan['before'], 'n4 <- n3 <- n2 <- n1 <- n0')

    def test_the_plan_of_a_job_is_what_it_does(self):
        for name, device, arguments in (
                ('block-stream', 'n4', dict(device='n4', base_node='n1', job_id='j')),
                ('block-stream', 'n6', dict(device='n6', bottom='n5', job_id='j')),
                ('block-commit', 'drive0', dict(device='drive0', top_node='n4', base_node='n1',
                                                job_id='j')),
                ('block-commit', 'drive0', dict(device='drive0', base_node='n6', job_id='j')),
                ('blockdev-mirror', 'drive0', dict(device='drive0', target='target', sync='full',
                                                   job_id='j'))):
            with self.subTest(command=name, arguments=arguments):
                plan = self.plan(name, **arguments)
                self.assertTrue(plan['accepted'], plan)
                self.vm.command(name, **arguments)
                self.vm.qmp.wait_event_that(
                    lambda e: e['event'] in ('BLOCK_JOB_READY', 'BLOCK_JOB_COMPLETED'),
                    what='ready or completed')
                if self.jobs():
                    self.vm.command('block-job-complete', device='j')
                self.wait_status('j', 'null')
                self.vm.qmp.take_events()
                self.assertEqual(self.chain_of(plan['after'].split(' <- ')[0]), plan['after'])

    def test_what_is_added_next_is_called_as_without_it(self):
        def number():
            """That of the generated name that a node gets now."""
            self.vm.command('blockdev-add', driver='raw', node_name='next',
                            file={'driver': 'null-co', 'size': MIB})
            name = self.child_of('next', 'file')
            self.vm.command('blockdev-del', node_name='next')
            return int(name.removeprefix('#block'))

        first = number()
        self.assertEqual(number(), first + 1)
        raw = {'driver': 'raw', 'file': {'driver': 'null-co', 'size': MIB}}
        for i, (name, arguments) in enumerate((
                ('block-stream', dict(device='n4', base_node='n1', job_id='j')),
                ('block-commit', dict(device='drive0', top_node='n4', base_node='n1', job_id='j')),
                ('block-commit', dict(device='drive0', base_node='n6', job_id='j')),
                ('blockdev-mirror', dict(device='drive0', target='target', sync='full', job_id='j')),
                ('blockdev-mirror', dict(device='drive0', target='n0', sync='full', job_id='j')),
                ('blockdev-add', dict(node_name='more', **raw)),
                ('blockdev-add', dict(node_name='n1', **raw)),
                ('blockdev-snapshot', dict(node='drive0', overlay='spare')))):
            with self.subTest(command=name, arguments=arguments):
                self.plan(name, **arguments)
                self.assertEqual(number(), first + 2 + i)

    def chain_of(self, top):
        """"n4 <- n1", as the graph is now."""
        nodes = {one['name']: one for one in self.vm.command('x-millrace-explain')['graph']['nodes']}
        chain = []
        while top:
            chain.append(top)
            top = next((edge['child'] for edge in nodes[top]['edges'] if edge['name'] == 'backing'),
                       None)
        return ' <- '.join(chain)

    def test_refusals_are_those_of_the_command(self):
        self.vm.command('block-stream', device='n4', base_node='n1', job_id='s', speed=1024,
                        filter_node_name='cor')
        for name, arguments in (
                ('block-stream', dict(device='n5', base_node='n2', job_id='x')),
                ('block-stream', dict(device='n3', job_id='x')),
                ('block-stream', dict(device='none')),
                ('block-stream', dict(device='n1', base_node='n6', job_id='x')),
                ('block-stream', dict(device='n8', base_node='n7', job_id='s')),
                ('block-stream', dict(device='n8', base_node='n7', speed=-1)),
                ('block-stream', dict(device='n8', base_node='n7', job_id='s',
                                      filter_node_name='n6')),
                ('block-commit', dict(device='n8', base_node='n7', job_id='s',
                                      filter_node_name='n6')),
                ('block-stream', dict(device='n1')),
                ('block-stream', dict()),
                ('block-commit', dict(device='drive0', base_node='n4')),
                ('block-commit', dict(device='drive0', top_node='n1', base_node='n0')),
                ('block-commit', dict(device='none')),
                ('blockdev-mirror', dict(device='drive0', target='n8', sync='full')),
                ('blockdev-mirror', dict(device='n4', target='target', sync='full', job_id='x')),
                ('blockdev-del', dict(node_name='n4')),
                ('blockdev-del', dict(node_name='none')),
                ('blockdev-snapshot', dict(node='n4', overlay='spare')),
                ('blockdev-snapshot', dict(node='drive0', overlay='target')),
                ('job-complete', dict(id='s')),
                ('job-finalize', dict(id='s')),
                ('job-dismiss', dict(id='s')),
                ('job-resume', dict(id='s')),
                ('job-pause', dict(id='none')),
                ('block-job-pause', dict(device='none')),
                ('block-job-set-speed', dict(device='s', speed=-1))):
            with self.subTest(command=name, arguments=arguments):
                plan = self.plan(name, **arguments)
                self.assertFalse(plan['accepted'], plan)
                reply = self.vm.reply(name, **arguments)
                self.assertEqual(plan['error']['class'], reply['error']['class'])
                self.assertEqual(plan['error']['desc'], reply['error']['desc'])
                self.assertEqual(plan['error'].get('data', {}).get('reason'),
                                 reply['error'].get('data', {}).get('reason'))

    def test_verbs_in_states(self):
        self.vm.command('block-stream', device='n4', base_node='n1', job_id='s', speed=1024)
        verbs = [('job-' + verb, {'id': 's'}) for verb in
                 ('pause', 'resume', 'cancel', 'complete', 'finalize', 'dismiss')]
        verbs += [('block-job-' + verb, {'device': 's'}) for verb in
                  ('pause', 'resume', 'cancel', 'complete')]
        running = {name: self.plan(name, **arguments)['accepted'] for name, arguments in verbs}
        self.assertEqual({name for name, accepted in running.items() if accepted},
                         {'job-pause', 'job-cancel', 'block-job-pause', 'block-job-cancel'})
        self.vm.command('job-pause', id='s')
        paused = {name: self.plan(name, **arguments)['accepted'] for name, arguments in verbs}
        self.assertEqual({name for name, accepted in paused.items() if accepted},
                         {'job-resume', 'job-cancel', 'block-job-resume'})

    def test_nodes(self):
        self.check('spare <- n8 <- n7 <- n6 <- n5 <- n4 <- n3 <- n2 <- n1 <- n0',
                   'blockdev-snapshot', node='drive0', overlay='spare')
        self.assertTrue(self.plan('blockdev-del', node_name='target')['accepted'])
        plan = self.plan('blockdev-add', driver='null-co', node_name='more')
        self.assertTrue(plan['accepted'], plan)
        plan = self.plan('blockdev-add', driver='null-co', node_name='n4')
        self.assertEqual(plan['error']['desc'], "Duplicate nodes with node-name='n4'")

    def test_what_cannot_be_planned(self):
        self.assert_refused('The command x-millrace-plan cannot be planned: it only asks',
                            'x-millrace-plan', command='x-millrace-plan')
        self.assert_refused('The command none has not been found', 'x-millrace-plan',
                            error_class='CommandNotFound', command='none')


if __name__ == '__main__':
    unittest.main()
