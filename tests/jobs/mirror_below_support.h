// What the tests of mirrors of raw images share: a file, raw nodes on it, and users of them.
#ifndef MILLRACE_TESTS_JOBS_MIRROR_BELOW_SUPPORT_H_
#define MILLRACE_TESTS_JOBS_MIRROR_BELOW_SUPPORT_H_

#include <cstdint>
#include <string>
#include <utility>

#include "millrace/graph/drivers/memory.h"
#include "millrace/graph/drivers/raw.h"
#include "tests/jobs/mirror_support.h"

namespace millrace {

constexpr uint64_t kSector = TaggedDisk::kSector;
// Reads and writes, and lets others do what they like.
constexpr Permissions kShared = {kConsistentRead | kWrite, kAllPermissions};

inline absl::StatusOr<NodeId> CoAddFile(MirrorWorld& world, uint64_t bytes) MILLRACE_MAY_SUSPEND {
  return CoAdd(world, "file", MakeMemoryDriver({.bytes = bytes}));
}

inline absl::StatusOr<NodeId> CoAddRaw(MirrorWorld& world, std::string name, NodeId file,
                                       const RawOptions& options = {}) MILLRACE_MAY_SUSPEND {
  return CoAdd(world, std::move(name), MakeRawDriver(options), {{Role::kPrimary, file}});
}

inline absl::StatusOr<Attachment> Attach(MirrorWorld& world, NodeId node, HolderRef holder,
                                         Permissions permissions = kShared) MILLRACE_OPENS_VIEW {
  AttachmentOptions options;
  options.holder = std::move(holder);
  options.permissions = permissions;
  return Attachment::Attach(world.graph(), node, std::move(options));
}

inline absl::Status CoWriteSectors(Attachment& user, uint64_t sector, uint64_t count, char byte)
    MILLRACE_MAY_SUSPEND {
  const std::string data(count * kSector, byte);
  return user.CoWrite(sector * kSector, IoVector::OfConst(data.data(), data.size()));
}

}  // namespace millrace

#endif  // MILLRACE_TESTS_JOBS_MIRROR_BELOW_SUPPORT_H_
