// The buses that guest devices can be put on: those that the machine has, and those of controllers
// that were added. Plain data; home thread.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_BUS_TABLE_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_BUS_TABLE_H_

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace millrace {

class BusTable {
 public:
  struct Controller {
    std::string id;
    std::string kind;          // of the devices on it: "SCSI"
    bool has_backend = false;  // a part of its own, "ID/virtio-backend"
    bool is_removable = true;
    std::string iothread = {};  // of all devices on it; "": the main one
  };
  // The bus of controller "scsi0" is "scsi0.0".
  void AddController(Controller controller) { controllers_.push_back(std::move(controller)); }
  // Null if there is none of this id.
  const Controller* FindController(std::string_view id) const {
    if (id.empty()) return nullptr;
    const auto found = std::find_if(controllers_.begin(), controllers_.end(),
                                    [&](const Controller& each) { return each.id == id; });
    return found == controllers_.end() ? nullptr : &*found;
  }
  // The id of the controller whose bus this is; without a bus, of the newest of that kind, but the
  // machine's own bus comes before all PCI bridges.
  std::string ControllerOf(const std::optional<std::string>& bus, std::string_view kind) const {
    if (bus) {
      const Controller* const found = FindController(bus->substr(0, bus->rfind('.')));
      return found == nullptr ? std::string() : found->id;
    }
    if (kind == "PCI") return {};
    for (auto each = controllers_.rbegin(); each != controllers_.rend(); ++each) {
      if (each->kind == kind) return each->id;
    }
    return {};
  }
  bool HasController(std::string_view id) const {
    return std::any_of(controllers_.begin(), controllers_.end(),
                       [&](const Controller& each) { return each.id == id; });
  }
  // Whether there was one of this id.
  bool RemoveController(std::string_view id) {
    return !id.empty() &&
           std::erase_if(controllers_, [&](const Controller& each) { return each.id == id; }) > 0;
  }

  bool HasBus(std::string_view name) const {
    for (const std::string_view own : {"pci.0", "pcie.0", "ide.0", "ide.1", "main-system-bus"}) {
      if (name == own) return true;
    }
    const size_t dot = name.rfind('.');
    const std::string_view id = name.substr(0, dot);
    // A root port is itself the bus; unnamed SCSI controllers make "scsi.0".
    return !id.empty() && (HasController(id) || (id == "scsi" && HasKind("SCSI")));
  }
  bool HasKind(std::string_view kind) const {
    if (kind == "PCI" || kind == "IDE" || kind == "floppy-bus") return true;
    return std::any_of(controllers_.begin(), controllers_.end(),
                       [&](const Controller& each) { return each.kind == kind; });
  }

 private:
  std::vector<Controller> controllers_;
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_BUS_TABLE_H_
