#include "tests/support/fake_driver_context.h"

#include <algorithm>
#include <utility>

#include "millrace/engine/base/status_macros.h"

namespace millrace {
namespace {

std::vector<uint8_t> Flatten(const IoVector& source) {
  std::vector<uint8_t> bytes(source.bytes());
  source.CopyTo(0, bytes.data(), bytes.size());
  return bytes;
}

void ReadInto(const CrashDisk& disk, uint64_t offset, const IoVector& target) {
  std::vector<uint8_t> bytes(target.bytes());
  disk.Read(offset, bytes.data(), bytes.size());
  target.CopyFrom(0, bytes.data(), bytes.size());
}

// A request of the node, from begin to end.
class Request {
 public:
  explicit Request(FakeDriverContext& context)
      : context_(context), number_(context.BeginRequest()) {}
  ~Request() { context_.EndRequest(number_); }

 private:
  FakeDriverContext& context_;
  const uint64_t number_;
};

absl::Status InjectedError() { return absl::UnavailableError("injected error"); }

}  // namespace

absl::Status FakeDriverContext::CoOperation() {
  if (simulate_io_) {
    IoRequest request;
    request.opcode = IoOpcode::kMemory;
    request.label = name_;
    if (CoSubmit(engine_.io(), request) < 0) return InjectedError();
  }
  return disk_.NextFails() ? InjectedError() : absl::OkStatus();
}

absl::Status FakeDriverContext::CoOperation(absl::FunctionRef<void()> effect) {
  const absl::Status status = CoOperation();
  if (status.ok() || disk_.fails_after_effect()) effect();
  return status;
}

absl::Status FakeDriverContext::CoReadChild(ChildKey, uint64_t offset, const IoVector& target) {
  return CoOperation([&] { ReadInto(disk_, offset, target); });
}
absl::Status FakeDriverContext::CoWriteChild(ChildKey, uint64_t offset, const IoVector& source,
                                             WriteFlags) {
  return CoOperation([&] { disk_.Write(offset, Flatten(source)); });
}
absl::Status FakeDriverContext::CoWriteZeroesChild(ChildKey, ByteRange range, ZeroFlags) {
  return CoOperation([&] { disk_.WriteZeroes(range.offset, range.bytes); });
}
absl::Status FakeDriverContext::CoDiscardChild(ChildKey, ByteRange range) {
  return CoOperation([&] {
    // What is discarded may read as anything; garbage finds those who still look.
    if (range.end() > disk_.live().size()) return;
    disk_.Write(range.offset, std::vector<uint8_t>(range.bytes, 0xdd));
  });
}
absl::Status FakeDriverContext::CoFlushChild(ChildKey) {
  const uint64_t issued = disk_.event_count();
  return CoOperation([&] { disk_.Flush(issued); });
}
absl::Status FakeDriverContext::CoResizeChild(ChildKey, uint64_t bytes) {
  return CoOperation([&] { disk_.Resize(bytes); });
}
absl::StatusOr<Extent> FakeDriverContext::CoMapChild(ChildKey, ByteRange range) {
  Extent extent;
  extent.bytes = range.bytes;
  extent.kind = ExtentKind::kData;
  extent.host = HostOffset(range.offset);
  return extent;
}

void FormatNode::ReadBacking(uint64_t offset, absl::Span<uint8_t> target) const {
  const uint64_t there = offset < backing_.size() ? backing_.size() - offset : 0;
  const uint64_t copied = std::min<uint64_t>(there, target.size());
  if (copied > 0) std::copy_n(backing_.data() + offset, copied, target.data());
  std::fill(target.begin() + static_cast<ptrdiff_t>(copied), target.end(), uint8_t{0});
}

absl::Status FormatNode::CoReadParts(uint64_t offset, absl::Span<uint8_t> target) {
  while (!target.empty()) {
    MILLRACE_ASSIGN_OR_RETURN(const Extent extent,
                              driver_->CoMap(ByteRange(offset, target.size())));
    MILLRACE_CHECK(extent.bytes > 0 && extent.bytes <= target.size(), "an extent of no use");
    const absl::Span<uint8_t> part = target.first(extent.bytes);
    switch (extent.kind) {
      case ExtentKind::kData:
        MILLRACE_RETURN_IF_ERROR(
            context_.CoReadChild(Role::kPrimary, extent.host.value(), IoVector(part)));
        break;
      case ExtentKind::kZero:
        std::fill(part.begin(), part.end(), uint8_t{0});
        break;
      case ExtentKind::kUnallocated:
        ReadBacking(offset, part);
        break;
      case ExtentKind::kEncoded:
      case ExtentKind::kOpaque: {
        const absl::Status status =
            driver_->CoReadEncoded(ByteRange(offset, part.size()), IoVector(part));
        if (absl::IsAborted(status)) continue;
        MILLRACE_RETURN_IF_ERROR(status);
        break;
      }
    }
    offset += extent.bytes;
    target.remove_prefix(extent.bytes);
  }
  return absl::OkStatus();
}

absl::Status FormatNode::CoFill(const Allocation& allocation, uint64_t offset) {
  for (const ByteRange& fill : {allocation.fill_before(), allocation.fill_after()}) {
    if (fill.empty()) continue;
    std::vector<uint8_t> bytes(fill.bytes);
    MILLRACE_RETURN_IF_ERROR(CoReadParts(fill.offset, absl::MakeSpan(bytes)));
    const uint64_t host = allocation.host().value() + fill.offset - offset;
    MILLRACE_RETURN_IF_ERROR(context_.CoWriteChild(
        Role::kPrimary, host, IoVector::OfConst(bytes.data(), bytes.size()), {}));
  }
  return absl::OkStatus();
}

absl::Status FormatNode::CoWriteParts(uint64_t offset, absl::Span<const uint8_t> source,
                                      WriteFlags flags) {
  while (!source.empty()) {
    MILLRACE_ASSIGN_OR_RETURN(const std::unique_ptr<Allocation> allocation,
                              driver_->CoAllocate(ByteRange(offset, source.size()), flags));
    uint64_t bytes = allocation->bytes();
    if (bytes == 0) {
      bytes = allocation->skip_bytes();
      MILLRACE_RETURN_IF_ERROR(driver_->CoLink(*allocation));
    } else {
      absl::Status status = CoFill(*allocation, offset);
      if (status.ok()) {
        status = context_.CoWriteChild(Role::kPrimary, allocation->host().value(),
                                       IoVector::OfConst(source.data(), bytes), {});
      }
      if (!status.ok()) {
        driver_->CoAbandon(*allocation);
        return status;
      }
      MILLRACE_RETURN_IF_ERROR(driver_->CoLink(*allocation));
    }
    MILLRACE_CHECK(bytes > 0 && bytes <= source.size(), "an allocation of no use");
    offset += bytes;
    source.remove_prefix(bytes);
  }
  return absl::OkStatus();
}

absl::Status FormatNode::CoZeroParts(ByteRange range, ZeroFlags flags) {
  const uint64_t unit = driver_->zero_granularity();
  const uint64_t end = range.end() == driver_->bytes() ? range.end() : AlignDown(range.end(), unit);
  const uint64_t begin = std::min(AlignUp(range.offset, unit), range.end());
  std::vector<uint8_t> zeroes(range.bytes);
  auto write = [&](uint64_t from, uint64_t to) MILLRACE_MAY_SUSPEND {
    return CoWriteParts(from, absl::MakeConstSpan(zeroes).first(to - from), {});
  };
  if (begin >= end) return write(range.offset, range.end());
  MILLRACE_RETURN_IF_ERROR(write(range.offset, begin));
  const absl::Status status = driver_->CoWriteZeroes(ByteRange(begin, end - begin), flags);
  if (absl::IsUnimplemented(status)) {
    MILLRACE_RETURN_IF_ERROR(write(begin, end));
  } else {
    MILLRACE_RETURN_IF_ERROR(status);
  }
  return write(end, range.end());
}

absl::Status FormatNode::CoRead(uint64_t offset, absl::Span<uint8_t> target) {
  Request request(context_);
  return CoReadParts(offset, target);
}
absl::Status FormatNode::CoWrite(uint64_t offset, absl::Span<const uint8_t> source,
                                 WriteFlags flags) {
  Request request(context_);
  return CoWriteParts(offset, source, flags);
}
absl::Status FormatNode::CoWriteZeroes(ByteRange range, ZeroFlags flags) {
  Request request(context_);
  return CoZeroParts(range, flags);
}
absl::Status FormatNode::CoDiscard(ByteRange range) {
  Request request(context_);
  const uint64_t unit = driver_->zero_granularity();
  const uint64_t begin = AlignUp(range.offset, unit);
  const uint64_t end = range.end() == driver_->bytes() ? range.end() : AlignDown(range.end(), unit);
  if (begin >= end) return absl::OkStatus();
  return driver_->CoDiscard(ByteRange(begin, end - begin));
}
absl::Status FormatNode::CoFlush() {
  Request request(context_);
  MILLRACE_RETURN_IF_ERROR(driver_->CoFlushMetadata());
  return context_.CoFlushChild(Role::kPrimary);
}
absl::Status FormatNode::CoResize(uint64_t bytes) {
  Request request(context_);
  return driver_->CoResize(bytes, {});
}
absl::Status FormatNode::CoPopulate(ByteRange range) {
  Request request(context_);
  std::vector<uint8_t> bytes(range.bytes);
  MILLRACE_RETURN_IF_ERROR(CoReadParts(range.offset, absl::MakeSpan(bytes)));
  return CoWriteParts(range.offset, bytes, {.only_if_unallocated = true});
}

absl::Status DiskFile::Operation(absl::FunctionRef<void()> effect) {
  const bool fails = disk_.NextFails();
  if (!fails || disk_.fails_after_effect()) effect();
  return fails ? InjectedError() : absl::OkStatus();
}

absl::Status DiskFile::CoRead(uint64_t offset, const IoVector& target) {
  return Operation([&] { ReadInto(disk_, offset, target); });
}
absl::Status DiskFile::CoWrite(uint64_t offset, const IoVector& source) {
  return Operation([&] { disk_.Write(offset, Flatten(source)); });
}
absl::Status DiskFile::CoWriteZeroes(ByteRange range) {
  return Operation([&] { disk_.WriteZeroes(range.offset, range.bytes); });
}
absl::Status DiskFile::CoDiscard(ByteRange) {
  return Operation([] {});
}
absl::Status DiskFile::CoFlush() {
  return Operation([&] { disk_.Flush(disk_.event_count()); });
}
absl::Status DiskFile::CoResize(uint64_t bytes) {
  return Operation([&] { disk_.Resize(bytes); });
}

}  // namespace millrace
