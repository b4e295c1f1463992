#include "examples/hypervisor/block/device_properties.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "absl/strings/str_split.h"
#include "examples/hypervisor/qmp/qmp_error.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

// Names, with a space between two. What several models have in common comes first.
constexpr std::string_view kBlock =
    "account-failed account-invalid backend_defaults discard_granularity drive "
    "logical_block_size min_io_size opt_io_size physical_block_size share-rw write-cache";
constexpr std::string_view kGeometry = "cyls heads lcyls lheads lsecs secs";
constexpr std::string_view kPci =
    "acpi-index addr failover_pair_id multifunction rombar romfile romsize "
    "x-pcie-extcap-init x-pcie-lnksta-dllla";
constexpr std::string_view kVirtio =
    "any_layout event_idx indirect_desc iommu_platform iothread notify_on_empty packed "
    "queue_reset use-disabled-flag use-started x-disable-legacy-check";
constexpr std::string_view kVirtioPci =
    "aer ats disable-legacy disable-modern ioeventfd migrate-extra modern-pio-notify "
    "page-per-vq vectors virtio-pci-bus-master-bug-migration x-ats-page-aligned "
    "x-disable-pcie x-ignore-backend-features x-pcie-deverr-init x-pcie-flr-init "
    "x-pcie-lnkctl-init x-pcie-pm-init";
constexpr std::string_view kVirtioBlk =
    "bootindex config-wce discard max-discard-sectors max-write-zeroes-sectors num-queues "
    "queue-size report-discard-granularity request-merging rerror scsi seg-max-adjust "
    "serial werror write-zeroes x-enable-wce-if-config-wce";
constexpr std::string_view kVirtioScsi =
    "cmd_per_lun hotplug max_sectors num_queues param_change seg_max_adjust "
    "virtqueue_size";
constexpr std::string_view kScsiDisk =
    "bootindex channel device_id lun max_io_size port_index port_wwn product "
    "quirk_mode_page_vendor_specific_apple rerror scsi-id scsi_version serial vendor ver "
    "werror wwn";
constexpr std::string_view kIdeDisk = "bootindex model rerror serial unit ver werror wwn";
constexpr std::string_view kXhci = "host p2 p3 streams xhci-core";

struct Model {
  std::string_view name;
  std::array<std::string_view, 6> common;
  std::string_view own = {};
};

constexpr Model kModelsOfProperties[] = {
    {"virtio-blk-pci", {kBlock, kGeometry, kPci, kVirtio, kVirtioPci, kVirtioBlk}, "class"},
    {"virtio-blk-device", {kBlock, kGeometry, kVirtio, kVirtioBlk}},
    {"scsi-hd", {kBlock, kGeometry, kScsiDisk}, "dpofua max_unmap_size removable rotation_rate"},
    {"scsi-cd",
     {kBlock, kScsiDisk},
     "quirk_mode_page_apple_vendor quirk_mode_page_truncated quirk_mode_sense_rom_use_dbd"},
    {"ide-hd", {kBlock, kGeometry, kIdeDisk}, "bios-chs-trans rotation_rate"},
    {"ide-cd", {kBlock, kIdeDisk}},
    {"nvme",
     {kBlock, kPci},
     "aer_max_queued aerl bootindex cmb_size_mb ioeventfd max_ioqpairs mdts "
     "msix-exclusive-bar msix_qsize num_queues pmrdev serial smart_critical_warning "
     "sriov_max_vfs sriov_max_vi_per_vf sriov_max_vq_per_vf sriov_vi_flexible "
     "sriov_vq_flexible subsys use-intel-id vsl zoned.auto_transition zoned.zasl"},
    {"usb-storage",
     {kBlock},
     "attached bootindex commandlog msos-desc pcap port removable rerror serial werror"},
    {"floppy", {kBlock}, "drive-type unit"},
    {"virtio-scsi-pci", {kPci, kVirtio, kVirtioPci, kVirtioScsi}},
    {"virtio-scsi-device", {kVirtio, kVirtioScsi}},
    {"ich9-ahci", {kPci}},
    {"lsi53c895a", {kPci}},
    {"pci-bridge",
     {kPci},
     "bus-reserve chassis_nr io-reserve mem-reserve msi pref32-reserve pref64-reserve shpc"},
    {"pcie-root-port",
     {kPci},
     "aer_log_max bus-reserve chassis disable-acs hotplug io-reserve mem-reserve port "
     "power_controller_present pref32-reserve pref64-reserve slot x-migrate-msix "
     "x-native-hotplug x-speed x-width"},
    {"qemu-xhci", {kPci, kXhci}},
    {"nec-usb-xhci",
     {kPci, kXhci},
     "force-pcie-endcap intrs msi msix slots superspeed-ports-first"},
};

constexpr std::pair<std::string_view, std::string_view> kPropertyAliases[] = {
    {"virtio-blk", "virtio-blk-pci"},
    {"virtio-scsi", "virtio-scsi-pci"},
    {"ahci", "ich9-ahci"},
    {"lsi", "lsi53c895a"},
};

bool HasWord(std::string_view words, std::string_view word) {
  for (const absl::string_view each :
       absl::StrSplit(absl::string_view(words.data(), words.size()), ' ')) {
    if (std::string_view(each.data(), each.size()) == word) return true;
  }
  return false;
}

bool HasProperty(const Model& model, std::string_view name) {
  return HasWord(model.own, name) ||
         std::any_of(model.common.begin(), model.common.end(),
                     [&](std::string_view words) { return HasWord(words, name); });
}

}  // namespace

absl::Status CheckDeviceProperties(std::string_view model, const json::object& properties) {
  for (const auto& [alias, name] : kPropertyAliases) {
    if (model == alias) model = name;
  }
  const auto found = std::find_if(std::begin(kModelsOfProperties), std::end(kModelsOfProperties),
                                  [&](const Model& each) { return each.name == model; });
  if (found == std::end(kModelsOfProperties)) return absl::OkStatus();  // of another machine's
  for (const auto& member : properties) {
    const std::string_view name = View(member.key());
    if (name == "driver" || name == "id" || name == "bus" || HasProperty(*found, name)) continue;
    return GenericError(StrCat("Property '", model, ".", name, "' not found"));
  }
  return absl::OkStatus();
}

}  // namespace millrace
