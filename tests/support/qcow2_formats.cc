#include "tests/support/qcow2_formats.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "tests/support/qcow2_images.h"
#include "tests/support/seeds.h"

namespace millrace {
namespace {

// An image, open, and what it must hold.
class Writer {
 public:
  Writer(FormatNode& node, std::vector<uint8_t>& model) : node_(node), model_(model) {}

  absl::Status CoWrite(uint64_t offset, uint64_t bytes) MILLRACE_MAY_SUSPEND {
    // Nowhere zero, and different from cluster to cluster.
    std::vector<uint8_t> data(bytes);
    for (uint64_t i = 0; i < bytes; ++i) {
      data[i] = static_cast<uint8_t>((offset + i) / 512 * 37 + i + ++seed_ % 7) | 1;
    }
    MILLRACE_RETURN_IF_ERROR(node_.CoWrite(offset, data));
    std::copy(data.begin(), data.end(), model_.begin() + static_cast<ptrdiff_t>(offset));
    return absl::OkStatus();
  }
  absl::Status CoZero(ByteRange range, bool may_unmap) MILLRACE_MAY_SUSPEND {
    MILLRACE_RETURN_IF_ERROR(node_.CoWriteZeroes(range, {.may_unmap = may_unmap}));
    std::fill_n(model_.begin() + static_cast<ptrdiff_t>(range.offset), range.bytes, uint8_t{0});
    return absl::OkStatus();
  }
  // Of whole clusters, with no backing: they read as zeroes.
  absl::Status CoDiscard(ByteRange range) MILLRACE_MAY_SUSPEND {
    MILLRACE_RETURN_IF_ERROR(node_.CoDiscard(range));
    std::fill_n(model_.begin() + static_cast<ptrdiff_t>(range.offset), range.bytes, uint8_t{0});
    return absl::OkStatus();
  }
  absl::Status CoGrow(uint64_t bytes) MILLRACE_MAY_SUSPEND {
    MILLRACE_RETURN_IF_ERROR(node_.CoResize(bytes));
    model_.resize(bytes);
    return absl::OkStatus();
  }
  absl::Status CoCompare(std::string_view when) MILLRACE_MAY_SUSPEND {
    if (node_.driver().bytes() != model_.size()) {
      return absl::InternalError(
          StrCat(when, ": the image has ", node_.driver().bytes(), " bytes, not ", model_.size()));
    }
    std::vector<uint8_t> now(model_.size());
    MILLRACE_RETURN_IF_ERROR(node_.CoRead(0, absl::MakeSpan(now)));
    if (std::memcmp(now.data(), model_.data(), now.size()) == 0) return absl::OkStatus();
    const auto at = std::mismatch(now.begin(), now.end(), model_.begin());
    return absl::InternalError(StrCat(when, ": byte ", at.first - now.begin(), " is ",
                                      int{*at.first}, ", not ", int{*at.second}));
  }

 private:
  FormatNode& node_;
  std::vector<uint8_t>& model_;
  uint64_t seed_ = 0;
};

absl::Status CoFirstSession(Writer& writer, uint64_t cluster, uint64_t clusters)
    MILLRACE_MAY_SUSPEND {
  const uint64_t end = clusters * cluster;
  MILLRACE_RETURN_IF_ERROR(writer.CoWrite(0, 2 * cluster));
  MILLRACE_RETURN_IF_ERROR(writer.CoWrite(3 * cluster - 100, 300));  // across a border, both new
  MILLRACE_RETURN_IF_ERROR(writer.CoWrite(cluster + 33, 70));        // in place
  MILLRACE_RETURN_IF_ERROR(writer.CoWrite(end - 700, 700));          // up to the end
  MILLRACE_RETURN_IF_ERROR(writer.CoCompare("written"));
  MILLRACE_RETURN_IF_ERROR(writer.CoZero(ByteRange(0, cluster), /*may_unmap=*/true));
  MILLRACE_RETURN_IF_ERROR(writer.CoZero(ByteRange(cluster, cluster), /*may_unmap=*/false));
  MILLRACE_RETURN_IF_ERROR(writer.CoZero(ByteRange(2 * cluster + 10, cluster), false));
  MILLRACE_RETURN_IF_ERROR(writer.CoCompare("zeroed"));
  MILLRACE_RETURN_IF_ERROR(writer.CoWrite(cluster / 2, cluster));  // over zero clusters
  MILLRACE_RETURN_IF_ERROR(writer.CoDiscard(ByteRange(cluster, cluster)));
  return writer.CoCompare("discarded");
}

absl::Status CoSecondSession(Writer& writer, uint64_t cluster, uint64_t clusters)
    MILLRACE_MAY_SUSPEND {
  const uint64_t end = clusters * cluster;
  MILLRACE_RETURN_IF_ERROR(writer.CoCompare("opened again"));
  MILLRACE_RETURN_IF_ERROR(writer.CoGrow(end + 2 * cluster + 512));
  MILLRACE_RETURN_IF_ERROR(writer.CoCompare("grown"));
  MILLRACE_RETURN_IF_ERROR(writer.CoWrite(end - 10, 20));
  MILLRACE_RETURN_IF_ERROR(writer.CoWrite(end + 2 * cluster + 512 - 90, 90));
  MILLRACE_RETURN_IF_ERROR(writer.CoWrite(cluster, 512));  // where something was discarded
  MILLRACE_RETURN_IF_ERROR(writer.CoDiscard(ByteRange(end, cluster)));
  return writer.CoCompare("written behind the old end");
}

}  // namespace

std::string NameOf(const Qcow2Format& format) {
  return StrCat("Clusters", format.cluster_bytes, "Refcounts", format.refcount_bits,
                format.extended_l2 ? "Extended" : "");
}

std::vector<Qcow2Format> AllQcow2Formats() {
  // Where not all are taken, a quarter: seven widths have no common divisor with it.
  const uint64_t stride = CaseStride() > 1 ? 4 : 1;
  uint64_t number = 0;
  std::vector<Qcow2Format> formats;
  for (const bool extended : {false, true}) {
    for (uint64_t cluster = extended ? 16384 : 512; cluster <= 2 << 20; cluster *= 2) {
      for (uint32_t bits = 1; bits <= 64; bits *= 2) {
        if (number++ % stride == 0) formats.push_back({cluster, bits, extended});
      }
    }
  }
  return formats;
}

absl::StatusOr<WrittenQcow2> WriteInEveryWay(const Qcow2Format& format) {
  const uint64_t cluster = format.cluster_bytes;
  // Small clusters: enough of them for several tables.
  const uint64_t clusters = std::clamp<uint64_t>((256 << 10) / cluster, 5, 300);
  WrittenQcow2 written;
  written.model.resize(clusters * cluster);
  written.disk = MakeImage({.bytes = clusters * cluster,
                            .cluster_bytes = cluster,
                            .refcount_bits = format.refcount_bits,
                            .extended_l2 = format.extended_l2});
  auto engine = SimulatedEngine();
  for (const auto session : {CoFirstSession, CoSecondSession}) {
    FakeDriverContext context(*engine, written.disk);
    FormatNode node(context, MakeQcow2Driver());
    Writer writer(node, written.model);
    const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      MILLRACE_RETURN_IF_ERROR(node.CoOpen());
      absl::Status result = session(writer, cluster, clusters);
      if (result.ok()) result = node.CoFlush();
      node.CoClose();
      return result;
    });
    MILLRACE_RETURN_IF_ERROR(status);
  }
  return written;
}

}  // namespace millrace
