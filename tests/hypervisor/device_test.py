"""Guest devices: what they are called, and what goes with them."""

from support.case import Case
from support.images import MIB


class Names(Case):
    """By its id, if the part that has the drive has one; else by its place in the object tree."""

    def setUp(self):
        super().setUp()
        for name in ('n0', 'n1', 'n2', 'n3', 'n4'):
            self.vm.blockdev({'driver': 'null-co', 'node-name': name, 'size': MIB,
                              'read-zeroes': True})
        self.vm.device('virtio-scsi-pci,id=s').device('scsi-hd,id=hd,bus=s.0,drive=n0')
        self.vm.device('scsi-hd,bus=s.0,drive=n1').device('virtio-blk-pci,id=v,drive=n2')
        self.vm.device('virtio-blk-pci,drive=n3').device('scsi-cd,id=cd,bus=s.0,drive=n4')
        self.names = ['hd', '/machine/peripheral-anon/device[0]',
                      '/machine/peripheral/v/virtio-backend',
                      '/machine/peripheral-anon/device[1]/virtio-backend', 'cd']
        self.vm.launch()

    def test_queries(self):
        for command in ('query-block', 'query-blockstats'):
            self.assertEqual([one['qdev'] for one in self.vm.command(command)], self.names)

    def test_both_names_lead_to_the_drive(self):
        for name in ('hd', '/machine/peripheral/hd', *self.names[1:]):
            self.vm.command('block-latency-histogram-set', id=name)

    def test_a_tray(self):
        self.vm.command('blockdev-open-tray', id='cd')
        event = self.vm.qmp.wait_event('DEVICE_TRAY_MOVED')
        self.assertEqual(event['data'], {'device': '', 'id': 'cd', 'tray-open': True})

    def test_one_that_is_deleted(self):
        self.vm.command('device_del', id='hd')
        event = self.vm.qmp.wait_event('DEVICE_DELETED')
        self.assertEqual(event['data'], {'device': 'hd', 'path': '/machine/peripheral/hd'})


class Unplug(Case):
    """Jobs on a drive that goes with its device are cancelled; those on a node are not."""

    def setUp(self):
        super().setUp()
        base = self.images.create('base.img', 4 * MIB)
        self.images.io('base.img', 'write -P 1 0 4M')
        self.top = self.images.create('top.img', backing=base)
        self.images.create('target.img', 4 * MIB)
        self.vm.device('virtio-scsi-pci,id=s')

    def launch(self, drive='drive0'):
        if drive == 'drive0':
            self.vm.drive(self.top, 'node-name=top', interface='none')
        else:
            self.vm.blockdev({'driver': 'qcow2', 'node-name': 'top', 'file': {
                'driver': 'file', 'filename': self.top}})
        self.vm.device(f'scsi-hd,id=disk,bus=s.0,drive={drive}').launch()

    def unplug(self):
        self.vm.command('device_del', id='disk')
        self.vm.qmp.wait_event('DEVICE_DELETED', device='disk')

    def test_a_job_on_a_drive_is_cancelled(self):
        self.launch()
        self.vm.command('block-stream', device='drive0', speed=65536)
        self.unplug()
        self.vm.qmp.wait_event('BLOCK_JOB_CANCELLED', device='drive0')
        self.wait_status('drive0', 'null')
        self.assert_no_job()
        self.assertEqual(self.vm.command('query-block'), [])
        self.assertNotIn('top', self.named_nodes())

    def test_a_job_that_the_user_has_paused_is_cancelled(self):
        self.launch()
        self.vm.command('block-stream', device='drive0', speed=65536)
        self.pause()
        self.unplug()
        self.vm.qmp.wait_event('BLOCK_JOB_CANCELLED', device='drive0')
        self.wait_status('drive0', 'null')
        self.assert_no_job()

    def test_a_mirror_that_is_ready_keeps_its_copy(self):
        self.launch()
        self.vm.command('blockdev-add', driver='qcow2', node_name='target', file={
            'driver': 'file', 'filename': self.images.path('target.img')})
        self.vm.command('blockdev-mirror', device='drive0', target='target', sync='full',
                        job_id='job')
        self.wait_ready('job', 'mirror')
        self.unplug()
        self.wait_ended('job', offset=None)
        self.assertEqual(self.vm.quit(), 0)
        self.assertTrue(self.images.same_content('top.img', 'target.img'))

    def test_a_job_below_the_drive_goes_on(self):
        middle = self.images.create('middle.img', backing=self.top)
        self.vm.drive(middle, 'backing.node-name=mid', interface='none')
        self.vm.device('scsi-hd,id=disk,bus=s.0,drive=drive0').launch()
        self.vm.command('block-stream', device='mid', job_id='job', speed=65536)
        self.unplug()
        self.assertEqual(self.job('job')['status'], 'running')
        self.vm.command('block-job-set-speed', device='job', speed=0)
        self.wait_ended('job')

    def test_a_job_on_a_node_goes_on(self):
        self.launch('top')
        self.vm.command('block-stream', device='top', job_id='job', speed=65536)
        self.unplug()
        self.assertEqual(self.job('job')['status'], 'running')
        self.vm.command('block-job-set-speed', device='job', speed=0)
        self.wait_ended('job')
