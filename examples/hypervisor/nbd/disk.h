// NbdDisk: what a session needs of the export that its client chose. Home thread.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_NBD_DISK_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_NBD_DISK_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "millrace/engine/base/byte_range.h"
#include "millrace/graph/guest_port.h"

namespace millrace {

// What can be asked about a part of a disk, as the meta contexts of the protocol; also their ids.
enum NbdContext : uint32_t {
  kNbdAllocation = 0,       // "base:allocation": kStateHole, kStateZero
  kNbdAllocationDepth = 1,  // "qemu:allocation-depth": how many nodes down; 0: in none
};
inline constexpr size_t kNbdContexts = 2;

// One bit for each of them.
using NbdContextSet = uint32_t;
inline constexpr NbdContextSet OnlyNbdContext(NbdContext context) { return 1u << context; }

// A run of an answer to "what is where", from the end of the run before.
struct NbdExtent {
  uint32_t bytes = 0;
  uint32_t state = 0;  // by the context

  friend bool operator==(const NbdExtent&, const NbdExtent&) = default;
};

// A question about a part of the disk; it stays its asker's.
struct NbdStatusQuery {
  ByteRange range;             // not empty, inside the disk
  NbdContextSet contexts = 0;  // that are asked for, at least one
  size_t extents_max = 1;      // for each
  // Called once, on the home thread, perhaps before Ask() returns; must not suspend.
  void (*on_done)(NbdStatusQuery& query) = nullptr;
  void* context = nullptr;  // the asker's own

  absl::Status status;
  // For each that was asked for at least one if all went well; they may end before the range does.
  std::array<std::vector<NbdExtent>, kNbdContexts> extents;
};

class NbdDisk {
 public:
  virtual ~NbdDisk() = default;

  virtual const std::string& name() const = 0;
  virtual const std::string& description() const = 0;
  virtual uint64_t bytes() const = 0;
  // Without kSendDf, which depends on the client.
  virtual uint16_t transmission_flags() const = 0;
  // What its clients may ask about it.
  virtual NbdContextSet contexts() const { return OnlyNbdContext(kNbdAllocation); }
  // Whether every write is to be durable when it is acknowledged.
  virtual bool is_writethrough() const = 0;
  // Where requests go.
  virtual const GuestPort& port() const = 0;
  virtual void Ask(NbdStatusQuery& query) = 0;
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_NBD_DISK_H_
