// ImageFile: the file below a format, as a flat sequence of bytes, whatever stands behind it.
//
// Code that works on a whole image (creating, checking, repairing, describing one) and the open
// driver reach the image's bytes through this interface only, so that the same code runs on the
// primary child of a node (ChildFile), on a protocol driver that is in no graph (ProtocolFile) and
// on plain memory in tests.
//
// Home thread. Calls may overlap unless their ranges do. Offsets and lengths are bytes; any
// alignment. Reads beyond the end give zeroes; writes beyond the end grow the file.
#ifndef MILLRACE_GRAPH_DRIVERS_QCOW2_IMAGE_FILE_H_
#define MILLRACE_GRAPH_DRIVERS_QCOW2_IMAGE_FILE_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "millrace/engine/base/byte_range.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/graph/driver.h"
#include "millrace/graph/io/io_vector.h"

namespace millrace {

class ImageFile {
 public:
  virtual ~ImageFile() = default;

  // For texts: the node's or the file's name.
  virtual std::string_view name() const = 0;
  virtual uint64_t bytes() const = 0;

  virtual absl::Status CoRead(uint64_t offset, const IoVector& target) MILLRACE_MAY_SUSPEND = 0;
  virtual absl::Status CoWrite(uint64_t offset, const IoVector& source) MILLRACE_MAY_SUSPEND = 0;
  // May give the space back to the host; the range reads as zeroes afterwards.
  virtual absl::Status CoWriteZeroes(ByteRange range) MILLRACE_MAY_SUSPEND = 0;
  // The content of the range does not matter any more.
  virtual absl::Status CoDiscard(ByteRange range) MILLRACE_MAY_SUSPEND = 0;
  // What was written before is durable when this returns.
  virtual absl::Status CoFlush() MILLRACE_MAY_SUSPEND = 0;
  virtual absl::Status CoResize(uint64_t bytes) MILLRACE_MAY_SUSPEND = 0;
  // See DriverContext::CoReserveInChild.
  virtual absl::Status CoReserve(ByteRange range) MILLRACE_MAY_SUSPEND {
    return CoWriteZeroes(range);
  }
  // Whether it is a part of a file, of a fixed size: writes beyond the end find no space then.
  virtual bool is_window() const { return false; }
  // A named event (semantics of blkdebug), for fault injection below.
  virtual void CoEvent(std::string_view /*event*/) MILLRACE_MAY_SUSPEND {}

  absl::Status CoReadBytes(uint64_t offset, absl::Span<uint8_t> target) MILLRACE_MAY_SUSPEND {
    return CoRead(offset, IoVector(target));
  }
  absl::Status CoWriteBytes(uint64_t offset, absl::Span<const uint8_t> source)
      MILLRACE_MAY_SUSPEND {
    return CoWrite(offset, IoVector::OfConst(source.data(), source.size()));
  }
};

// The primary child of the node behind `context`, which must outlive it.
class ChildFile final : public ImageFile {
 public:
  explicit ChildFile(DriverContext& context) : context_(context), name_(context.NodeInWords()) {}

  std::string_view name() const override { return name_; }
  uint64_t bytes() const override { return context_.ChildBytes(Role::kPrimary); }
  absl::Status CoRead(uint64_t offset, const IoVector& target) override MILLRACE_MAY_SUSPEND;
  absl::Status CoWrite(uint64_t offset, const IoVector& source) override MILLRACE_MAY_SUSPEND;
  absl::Status CoWriteZeroes(ByteRange range) override MILLRACE_MAY_SUSPEND;
  absl::Status CoDiscard(ByteRange range) override MILLRACE_MAY_SUSPEND;
  absl::Status CoFlush() override MILLRACE_MAY_SUSPEND;
  absl::Status CoResize(uint64_t bytes) override MILLRACE_MAY_SUSPEND;
  absl::Status CoReserve(ByteRange range) override MILLRACE_MAY_SUSPEND;
  bool is_window() const override { return context_.IsChildWindow(Role::kPrimary); }
  void CoEvent(std::string_view event) override MILLRACE_MAY_SUSPEND;

 private:
  DriverContext& context_;
  const std::string name_;
};

// A protocol driver that the caller has opened and closes; it must outlive this object.
class ProtocolFile final : public ImageFile {
 public:
  explicit ProtocolFile(ProtocolDriver& driver) : driver_(driver), name_(driver.filename()) {}

  std::string_view name() const override { return name_; }
  uint64_t bytes() const override { return driver_.bytes(); }
  absl::Status CoRead(uint64_t offset, const IoVector& target) override MILLRACE_MAY_SUSPEND;
  absl::Status CoWrite(uint64_t offset, const IoVector& source) override MILLRACE_MAY_SUSPEND;
  absl::Status CoWriteZeroes(ByteRange range) override MILLRACE_MAY_SUSPEND;
  absl::Status CoDiscard(ByteRange range) override MILLRACE_MAY_SUSPEND;
  absl::Status CoFlush() override MILLRACE_MAY_SUSPEND;
  absl::Status CoResize(uint64_t bytes) override MILLRACE_MAY_SUSPEND;

 private:
  ProtocolDriver& driver_;
  const std::string name_;
};

}  // namespace millrace

#endif  // MILLRACE_GRAPH_DRIVERS_QCOW2_IMAGE_FILE_H_
