// Image: what the parts of an open qcow2 image share: the file, the header, the table cache, and
// the knowledge of whether the image may still be written. Internal; not installed.
//
// Owned by the driver. Home thread.
#ifndef MILLRACE_GRAPH_DRIVERS_QCOW2_IMAGE_H_
#define MILLRACE_GRAPH_DRIVERS_QCOW2_IMAGE_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/sync/mutex.h"
#include "millrace/graph/driver.h"
#include "millrace/graph/drivers/qcow2/corruption.h"
#include "millrace/graph/drivers/qcow2/header.h"
#include "millrace/graph/drivers/qcow2/image_file.h"
#include "millrace/graph/drivers/qcow2/metadata_map.h"
#include "millrace/graph/drivers/qcow2/table_cache.h"

namespace millrace::qcow2 {

// What a request is to do with what it looks up.
enum class Access : uint8_t { kRead, kWrite };

class Image {
 public:
  using OnCorruption = std::function<void(const Qcow2Corruption&)>;

  // Both must outlive it. `on_corruption` may be absent.
  Image(DriverContext& context, ImageFile& file, Header header, uint64_t cache_bytes_max,
        OnCorruption on_corruption);

  DriverContext& context() const { return context_; }
  ImageFile& file() const { return file_; }
  const Geometry& geometry() const { return header_.geometry; }
  const Header& header() const { return header_; }
  TableCache& cache() { return cache_; }
  // Complete from CoLearnMetadata() on.
  MetadataMap& metadata() { return metadata_; }

  // Why the image takes no writes any more; OK while it does.
  const absl::Status& write_error() const { return write_error_; }
  // Something in the tables is broken: `what` in words, and what `found` says of its kind and
  // place. Stops all further writes, sets the corrupt bit of a writable image, tells the log and
  // the listener once, and returns the error for the request that found it.
  absl::Status CoCorrupt(std::string_view what, Qcow2Corruption found = {}) MILLRACE_MAY_SUSPEND;
  // The same if metadata lies in `run`, where there is only `what`: "guest data".
  absl::Status CoCheckNoMetadata(ClusterRun run, std::string_view what) MILLRACE_MAY_SUSPEND;
  // The same for something that is referred to and lies behind the end of the file: "the L2 table
  // at 65536 lies". But where the file is a window that is shorter than the image, it is there, out
  // of reach: EIO for a read, ENOSPC for a write, and nothing is marked.
  absl::Status CoBehindEnd(std::string_view what, Access access) MILLRACE_MAY_SUSPEND;
  // The slice with an entry of the L1 table or the refcount table. CoBehindEnd() if a window does
  // not have all of the slice: what is missing would be taken for zeroes, and be kept as that.
  absl::StatusOr<TableCache::SliceRef> CoGetEntry(TableKind kind, HostOffset place, Access access)
      MILLRACE_MAY_SUSPEND;
  // CoCorrupt() if `status` is DataLoss; any other status is returned as it is.
  absl::Status CoNoteCorruption(absl::Status status) MILLRACE_MAY_SUSPEND;
  // An error text with the image's name in front.
  absl::Status Named(const absl::Status& status) const;

  // Writes and flushes the header's fields as `edit` changes them: what was written before is
  // durable first. If that fails nothing has changed: the old header is written back, at the
  // latest by CoRestoreStart().
  template <typename Edit>
  absl::Status CoEditHeader(Edit&& edit) MILLRACE_MAY_SUSPEND {
    MutexLock lock(CoHold(header_mutex_));
    Header changed = header_;
    edit(changed);
    return CoStoreHeader(std::move(changed));
  }
  // The same, with extensions and backing file name. InvalidArgument if it does not fit.
  template <typename Edit>
  absl::Status CoRewriteHeader(Edit&& edit) MILLRACE_MAY_SUSPEND {
    MutexLock lock(CoHold(header_mutex_));
    Header changed = header_;
    edit(changed);
    return CoStoreWholeHeader(std::move(changed));
  }

  // Whoever makes durable what depends on the header calls this first: if nobody knows what is at
  // the start of the file since a header could not be written, what stood there before is written
  // again, and flushed.
  absl::Status CoRestoreStart() MILLRACE_MAY_SUSPEND {
    if (!old_start_.has_value()) return absl::OkStatus();
    MutexLock lock(CoHold(header_mutex_));
    return CoWriteOldStart();
  }
  bool is_start_unknown() const { return old_start_.has_value(); }

  // Fills metadata() from the tables on disk; call it before the first change. DataLoss if they
  // overlap.
  absl::Status CoLearnMetadata() MILLRACE_MAY_SUSPEND;

 private:
  absl::Status CoStoreHeader(Header changed) MILLRACE_MAY_SUSPEND;
  absl::Status CoStoreWholeHeader(Header changed) MILLRACE_MAY_SUSPEND;
  absl::Status CoWriteStart(absl::Span<const uint8_t> start) MILLRACE_MAY_SUSPEND;
  absl::Status CoWriteNameAndStart(const Header& changed, absl::Span<const uint8_t> start,
                                   absl::Span<const uint8_t> old) MILLRACE_MAY_SUSPEND;
  absl::Status CoWriteOldStart() MILLRACE_MAY_SUSPEND;
  absl::Status CoLearnTable(uint64_t offset, uint64_t entries, MetadataKind pointed_to)
      MILLRACE_MAY_SUSPEND;
  absl::Status LearnEntry(uint64_t index, uint64_t raw, MetadataKind pointed_to);
  absl::Status LearnPlace(uint64_t offset, uint64_t bytes, MetadataKind kind);
  absl::Status CoLearnSnapshots() MILLRACE_MAY_SUSPEND;

  void Report(std::string_view what, Qcow2Corruption found) const;

  DriverContext& context_;
  ImageFile& file_;
  const OnCorruption on_corruption_;
  Header header_;
  TableCache cache_;
  MetadataMap metadata_;
  Qcow2Corruption learned_;  // why CoLearnMetadata() has failed, if that can be told
  absl::Status write_error_;
  // What belongs at the start of the file, where a header may be that was given up.
  std::optional<std::vector<uint8_t>> old_start_;
  Mutex header_mutex_{"qcow2 header"};
};

// What was to be written there would hit metadata.
Qcow2Corruption OverlapWith(MetadataKind metadata, ByteRange file_range);

}  // namespace millrace::qcow2

#endif  // MILLRACE_GRAPH_DRIVERS_QCOW2_IMAGE_H_
