// FirstSector: watches over the start of a file whose format was guessed to be raw. Whoever writes
// there could make it look like an image of another format, and the next guess would believe it:
// name a backing file of his choice, say. Such a write is refused, as in QEMU. Internal; not
// installed.
//
// Owned by a driver, whose primary child is the file. Home thread.
#ifndef MILLRACE_GRAPH_DRIVERS_FIRST_SECTOR_H_
#define MILLRACE_GRAPH_DRIVERS_FIRST_SECTOR_H_

#include <array>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "millrace/engine/base/byte_range.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/sync/mutex.h"
#include "millrace/graph/driver.h"
#include "millrace/graph/io/format_probe.h"

namespace millrace {

class FirstSector {
 public:
  static bool Touches(ByteRange in_file) {
    return !in_file.empty() && in_file.offset < kProbeBytes;
  }

  // Writes to the file, one after the other where they touch the sector. EPERM, with nothing
  // written, if the file would not look like raw any more.
  absl::Status CoWrite(DriverContext& context, uint64_t offset, const IoVector& source)
      MILLRACE_MAY_SUSPEND;
  // The same for zeroes.
  absl::Status CoWriteZeroes(DriverContext& context, ByteRange range, ZeroFlags flags)
      MILLRACE_MAY_SUSPEND;
  // What may be discarded of a range: of a sector that would be left in part nothing is.
  static ByteRange ToDiscard(ByteRange range);

 private:
  using Bytes = std::array<uint8_t, kProbeBytes>;

  // What is there now; zeroes behind the end of the file. Not read if all of it is to be replaced.
  static absl::StatusOr<Bytes> CoRead(DriverContext& context, ByteRange replaced)
      MILLRACE_MAY_SUSPEND;
  static absl::Status Check(const DriverContext& context, const Bytes& bytes);

  Mutex mutex_{"first sector of a raw image"};
};

}  // namespace millrace

#endif  // MILLRACE_GRAPH_DRIVERS_FIRST_SECTOR_H_
