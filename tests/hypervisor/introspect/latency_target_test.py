"""What a job tells of the guests beside it, if it was given a latency target. Only against
millraced."""

import unittest

from support.case import Case


class LatencyTarget(Case):
    """base.img <- top.img (drive0), data in both."""

    def setUp(self):
        super().setUp()
        self.base, self.top = self.images.chain('base.img', 'top.img')
        self.images.io('base.img', 'write -P 1 0 1M')
        self.vm.drive(self.top, 'node-name=top').launch()

    def shown(self):
        job, = self.vm.command('query-jobs')
        return {key[len('x-millrace-'):]: value for key, value in job.items()
                if key.startswith('x-millrace-')}

    def stream(self, **more):
        self.vm.command('block-stream', device='drive0', speed=1, **more)

    def test_a_job_with_a_target_tells_what_the_guest_sees(self):
        self.stream(x_millrace_latency_target=2000)
        self.assertEqual(self.shown()['latency-target'], 2000 * 1000)
        before = self.shown()['guest-requests']
        for _ in range(3):
            self.vm.io('drive0', 'read 512K 4K')
        shown = self.shown()
        self.assertEqual(shown['guest-requests'], before + 3)
        self.assertGreater(shown['guest-p50'], 0)
        self.assertGreaterEqual(shown['guest-p99'], shown['guest-p50'])

    def test_a_job_without_one_tells_nothing(self):
        self.stream()
        self.assertEqual(self.shown(), {})

    def test_commit_and_mirror_take_one_too(self):
        self.vm.command('block-commit', device='drive0', speed=1, x_millrace_latency_target=1)
        self.assertEqual(self.shown()['latency-target'], 1000)
        self.cancel(force=True)
        self.images.create('target.img', 1024 * 1024)
        self.vm.command('blockdev-add', driver='qcow2', node_name='target',
                        file={'driver': 'file', 'filename': self.images.path('target.img')})
        self.vm.command('blockdev-mirror', device='drive0', target='target', sync='full', job_id='m',
                        speed=1, x_millrace_latency_target=7)
        self.assertEqual(self.shown()['latency-target'], 7000)

    def test_a_negative_one_is_refused(self):
        self.assert_refused("Parameter 'x-millrace-latency-target' expects uint32_t",
                            'block-stream', device='drive0', x_millrace_latency_target=-1)


if __name__ == '__main__':
    unittest.main()
