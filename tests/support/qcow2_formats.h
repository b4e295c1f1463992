// Every cluster size and refcount width that qcow2 has, and one image of each: written in all the
// ways there are, small enough that all of them together take seconds.
#ifndef MILLRACE_TESTS_SUPPORT_QCOW2_FORMATS_H_
#define MILLRACE_TESTS_SUPPORT_QCOW2_FORMATS_H_

#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tests/support/crash_disk.h"

namespace millrace {

struct Qcow2Format {
  uint64_t cluster_bytes = 65536;
  uint32_t refcount_bits = 16;
  bool extended_l2 = false;
};
// "Clusters2048Refcounts16", "Clusters16384Refcounts1Extended"
std::string NameOf(const Qcow2Format& format);
inline void PrintTo(const Qcow2Format& format, std::ostream* out) { *out << NameOf(format); }

// 13 cluster sizes by 7 widths, and again with subclusters where the format allows them.
std::vector<Qcow2Format> AllQcow2Formats();

struct WrittenQcow2 {
  CrashDisk disk;              // the closed image
  std::vector<uint8_t> model;  // what a guest must see of it
};
// Creates an image, writes (whole clusters, and a few bytes across their borders), writes zeroes
// with and without unmap, discards, grows, closes and opens it, and compares it with the model on
// the way. An error tells where they differ.
absl::StatusOr<WrittenQcow2> WriteInEveryWay(const Qcow2Format& format);

}  // namespace millrace

#endif  // MILLRACE_TESTS_SUPPORT_QCOW2_FORMATS_H_
