// SparseBytes: a file's content in memory; pages that were never written take no space and read as
// zeroes. It has no size of its own. Units are bytes. Nothing here suspends.
#ifndef MILLRACE_GRAPH_DRIVERS_SPARSE_BYTES_H_
#define MILLRACE_GRAPH_DRIVERS_SPARSE_BYTES_H_

#include <array>
#include <cstdint>
#include <memory>

#include "absl/container/btree_map.h"
#include "millrace/engine/base/byte_range.h"
#include "millrace/graph/io/io_vector.h"

namespace millrace {

class SparseBytes {
 public:
  static constexpr uint64_t kPageBytes = 4096;

  void Read(uint64_t offset, const IoVector& target) const;
  void Write(uint64_t offset, const IoVector& source);
  // Makes the range read as zeroes; pages that lie inside it entirely are given back.
  void Zero(ByteRange range);
  // Whether the byte at range.offset lies in a page that exists, and how many bytes of the range,
  // from there on, are alike.
  uint64_t FindRun(ByteRange range, bool* exists) const;
  // Bytes of the pages that exist.
  uint64_t allocated_bytes() const { return pages_.size() * kPageBytes; }

 private:
  using Page = std::array<uint8_t, kPageBytes>;
  absl::btree_map<uint64_t, std::unique_ptr<Page>> pages_;  // by offset / kPageBytes
};

}  // namespace millrace

#endif  // MILLRACE_GRAPH_DRIVERS_SPARSE_BYTES_H_
