"""Guest devices that are taken away, as if a guest let go of them at once. QEMU's PC asks its guest
first, and none runs here; a slot of a root port that is still switched off shows what comes then."""

import unittest

from support.case import Case
from support.images import MIB


class DeviceDel(Case):
    def setUp(self):
        super().setUp()
        for name in ('n0', 'n1', 'n2', 'n3'):
            self.vm.blockdev({'driver': 'null-co', 'node-name': name, 'size': MIB})
        self.vm.device('virtio-scsi-pci,id=s').device('virtio-scsi-pci,id=other')
        self.vm.device('pcie-root-port,id=port').launch()

    def plug(self, driver, **options):
        self.vm.qmp.command('device_add', driver=driver, **options)

    def deleted(self):
        return [event['data'] for event in self.vm.qmp.take_events('DEVICE_DELETED')]

    def test_a_controller_takes_its_disks_along_the_last_one_first(self):
        self.plug('scsi-hd', id='h0', drive='n0', bus='s.0')
        self.plug('scsi-hd', id='h1', drive='n1', bus='other.0')
        self.plug('scsi-hd', id='h2', drive='n2')  # on the newest bus of its kind
        self.plug('scsi-cd', drive='n3', bus='s.0')
        self.vm.command('device_del', id='s')
        self.assertEqual(self.vm.reply('device_del', id='h0')['error']['desc'],
                         "Device 'h0' not found")
        self.assertEqual(self.deleted(), [
            {'path': '/machine/peripheral-anon/device[0]'},
            {'path': '/machine/peripheral/h0', 'device': 'h0'},
            {'path': '/machine/peripheral/s/virtio-backend'},
            {'path': '/machine/peripheral/s', 'device': 's'}])
        self.assertEqual([one['qdev'] for one in self.vm.command('query-block')],
                         ['h1', 'h2'])
        for node in ('n0', 'n3'):
            self.vm.command('blockdev-del', node_name=node)
        for node in ('n1', 'n2'):
            self.assert_refused(f'Node {node} is in use', 'blockdev-del', node_name=node)

    def test_a_plan_tells_of_the_disks(self):
        self.plug('scsi-hd', id='h0', drive='n0', bus='s.0')
        self.plug('scsi-hd', drive='n1', bus='s.0')
        plan = self.vm.command('x-millrace-plan', command='device_del', arguments={'id': 's'})
        self.assertEqual(plan['steps'][:3], ["unplug '/machine/peripheral-anon/device[0]'",
                                         "unplug 'h0'", "unplug 's'"])
        self.assertEqual(self.deleted(), [])

    def test_a_root_port_stays(self):
        text = "Bus 'pcie.0' does not support hotplugging"
        self.assert_refused(text, 'device_del', id='port')
        plan = self.vm.command('x-millrace-plan', command='device_del', arguments={'id': 'port'})
        self.assertEqual((plan['accepted'], plan['error']['desc']), (False, text))

    def test_a_plan_takes_no_number(self):
        device = {'driver': 'scsi-hd', 'drive': 'n0', 'bus': 's.0'}
        for _ in range(3):
            self.vm.command('x-millrace-plan', command='device_add', arguments=device)
        self.plug(**device)
        self.assertEqual([one['qdev'] for one in self.vm.command('query-block')],
                         ['/machine/peripheral-anon/device[0]'])


if __name__ == '__main__':
    unittest.main()
