"""stop and cont: what guests have begun is over when `stop` returns."""

from support.case import Case
from support.images import MIB


class RunState(Case):
    def launch(self, options=''):
        self.vm.drive(self.images.create('x.img', 4 * MIB), options).launch()
        self.vm.command('cont')
        self.vm.qmp.take_events()

    def told(self):
        return [event['event'] for event in self.vm.qmp.take_events('STOP', 'RESUME')]

    def test_events_tell_of_changes_only(self):
        self.launch()
        self.assertEqual(self.vm.command('query-status')['running'], True)
        for _ in range(2):
            self.vm.command('stop')
        self.assertEqual(self.told(), ['STOP'])
        self.assertEqual(self.vm.command('query-status')['status'], 'paused')
        for _ in range(2):
            self.vm.command('cont')
        self.assertEqual(self.told(), ['RESUME'])
        self.assertEqual(self.vm.command('query-status')['status'], 'running')

    def test_stop_returns_when_nothing_is_in_flight(self):
        # The limit lets the second and third request wait for a minute each, if nobody drains.
        self.launch('throttling.bps-total=1024')
        for i in range(3):
            self.vm.io('drive0', f'aio_write -P {i + 1} {i}M 64k')
        self.assertLess(self.vm.output().count('wrote 65536/65536'), 3)
        self.vm.command('stop')
        self.assertEqual(self.vm.output().count('wrote 65536/65536'), 3)

    def test_a_job_goes_on_when_the_guest_is_stopped(self):
        # As much as a drain's kicks do not get done: QEMU 7.2 lets a held job do a piece at each.
        self.images.chain('base.img', 'top.img', size=32 * MIB)
        self.images.io('base.img', 'write -P 1 0 32M')
        self.vm.drive(self.images.path('top.img')).launch()
        self.vm.command('cont')
        self.vm.command('block-stream', device='drive0', speed=1024)
        self.vm.command('stop')
        self.vm.command('block-job-set-speed', device='drive0', speed=0)
        self.wait_ended()
