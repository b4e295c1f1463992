"""Removable media: trays that open and close, media that are taken out, put in and changed."""

from support.case import Case
from support.images import MIB


class Media(Case):
    def setUp(self):
        super().setUp()
        self.old = self.images.create('old.img', MIB, 'raw')
        self.new = self.images.create('new.img', MIB, 'raw')
        self.vm.raw_drive(f'if=none,id=drive0,file={self.old},format=raw,media=cdrom')
        self.vm.device('ide-cd,id=cd0,drive=drive0')
        self.vm.drive(self.images.create('disk.img', MIB), interface='none', ident='drive1')
        self.vm.device('virtio-blk-pci,id=hd0,drive=drive1')
        self.vm.device('floppy,id=fd0').launch()

    def state(self, index=0):
        """(whether the tray is open, the medium's file)"""
        drive = self.vm.command('query-block')[index]
        inserted = drive.get('inserted')
        return drive.get('tray_open'), inserted and inserted['file']

    def add(self, name='n', **options):
        self.vm.command('blockdev-add', driver='raw', node_name=name, read_only=True,
                        file={'driver': 'file', 'filename': self.new}, **options)

    def moved(self):
        return [message['data']['tray-open'] for message in self.vm.qmp.messages()
                if message.get('event') == 'DEVICE_TRAY_MOVED']

    def test_out_and_in_again(self):
        self.assertEqual(self.state(), (False, self.old))
        self.assert_refused("Tray of device 'cd0' is not open", 'blockdev-remove-medium', id='cd0')
        self.vm.command('blockdev-open-tray', id='cd0')
        self.vm.command('blockdev-open-tray', id='cd0')
        self.vm.command('blockdev-remove-medium', id='cd0')
        self.assertEqual(self.state(), (True, None))
        self.vm.command('blockdev-remove-medium', id='cd0')
        self.add()
        self.assert_refused("Node 'none' not found", 'blockdev-insert-medium', id='cd0',
                            node_name='none')
        self.vm.command('blockdev-insert-medium', id='cd0', node_name='n')
        self.assert_refused("Node 'n' is already in use", 'blockdev-insert-medium', id='cd0',
                            node_name='n')
        self.vm.command('blockdev-close-tray', id='cd0')
        self.assertEqual(self.state(), (False, self.new))
        self.assertEqual(self.moved(), [True, False])
        self.assert_refused('Node n is in use', 'blockdev-del', node_name='n')

    def test_a_change_in_one_step(self):
        self.vm.command('blockdev-change-medium', id='cd0', filename=self.new, format='raw')
        self.assertEqual(self.state(), (False, self.new))
        self.assertEqual(self.moved(), [True, False])
        self.assert_refused("Could not open '/nonexistent/x': No such file or directory",
                            'blockdev-change-medium', id='cd0', filename='/nonexistent/x',
                            format='raw')
        self.assertEqual(self.state(), (False, self.new))
        self.vm.command('eject', device='drive0')
        self.assertEqual(self.state(), (True, None))

    def test_a_floppy_has_no_tray(self):
        self.assertEqual(self.state(2), (None, None))
        self.vm.command('blockdev-change-medium', id='fd0', filename=self.new, format='raw')
        self.assertEqual(self.state(2), (None, self.new))
        self.vm.command('eject', id='fd0')
        self.assertEqual(self.state(2), (None, None))
        self.assertEqual(self.moved(), [])

    def test_refusals(self):
        one_of = "Need exactly one of 'device' and 'id'"
        self.assert_refused(one_of, 'blockdev-open-tray')
        self.assert_refused(one_of, 'eject', id='cd0', device='drive0')
        self.assert_refused("Device 'drive1' is not removable", 'blockdev-open-tray',
                            device='drive1')
        self.assert_refused('Device does not have a block device backend',
                            'blockdev-remove-medium', id='hd0')
        self.assert_refused("Device 'none' not found", 'eject', error_class='DeviceNotFound',
                            device='none')
        self.assert_refused("Device 'none' not found", 'blockdev-remove-medium',
                            error_class='DeviceNotFound', id='none')
