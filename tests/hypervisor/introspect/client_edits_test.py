"""What a client does to the graph under a job, over QMP: it is done or refused, the job ends well
and the daemon lives. (QEMU 7.2 aborts at the first of these.) Only against millraced."""

import unittest

from support.case import Case


class ClientEdits(Case):
    """n4 <- n3 <- n2 <- n1 <- n0, each node added by itself; n2 holds the data."""

    def setUp(self):
        super().setUp()
        self.paths = self.images.chain(*(f'{i}.img' for i in range(5)))
        self.images.io('2.img', 'write -P 1 0 1M')
        self.vm.launch()
        for i, path in enumerate(self.paths):
            self.vm.command('blockdev-add', driver='file', node_name=f'f{i}', filename=path)
            self.vm.command('blockdev-add', **self.node(i, f'n{i - 1}' if i else None))

    @staticmethod
    def node(i, backing):
        return {'driver': 'qcow2', 'node-name': f'n{i}', 'file': f'f{i}', 'backing': backing}

    def reopen(self, i, backing):
        return self.vm.qmp.execute('blockdev-reopen', {'options': [self.node(i, backing)]})

    def commit(self, **more):
        self.vm.command('block-commit', device='n4', job_id='j', top_node='n2', base_node='n1',
                        speed=1024, **more)

    def finish(self):
        self.vm.command('block-job-set-speed', device='j', speed=0)
        self.wait_ended('j')

    def test_the_overlay_above_a_named_commit_filter_is_pointed_elsewhere(self):
        self.commit(filter_node_name='cf')
        self.assertIn('return', self.reopen(3, 'n0'))
        self.assertEqual(self.backing_of('n3'), 'n0')
        self.finish()
        self.assertEqual(self.backing_of('n3'), 'n0')
        self.assertEqual(self.backing_of('n1'), 'n0')

    def test_the_overlay_above_an_implicit_filter_is_not(self):
        self.commit()
        reply = self.reopen(3, 'n0')
        self.assertEqual(reply['error']['desc'], 'Cannot replace implicit backing child of n3')
        self.finish()
        self.assertEqual(self.backing_of('n3'), 'n1')

    def test_a_frozen_link_is_not_changed(self):
        self.vm.command('block-stream', device='n3', base_node='n1', job_id='j', speed=1024)
        for backing in ('n0', None):
            self.assertIn('error', self.reopen(3, backing))
        self.finish()
        self.assertEqual(self.backing_of('n3'), 'n1')

    def test_the_base_of_a_stream_is_taken_away(self):
        self.vm.command('block-stream', device='n3', bottom='n2', job_id='j', speed=1024)
        self.assertIn('return', self.reopen(2, 'n0'))
        self.finish()
        self.assertEqual(self.backing_of('n3'), 'n0')

    def test_nodes_that_a_job_works_on_are_not_removed(self):
        self.commit(filter_node_name='cf')
        for node in ('n4', 'n3', 'n2', 'n1', 'n0', 'cf', 'f2', 'f1'):
            self.assertIn('error', self.vm.reply('blockdev-del', node_name=node), node)
        self.finish()


if __name__ == '__main__':
    unittest.main()
