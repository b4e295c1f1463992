// What an open qcow2 image's driver found to be broken in its tables, for whoever watches over the
// image (Qcow2OpenOptions::on_corruption; QEMU's BLOCK_IMAGE_CORRUPTED). Plain data.
#ifndef MILLRACE_GRAPH_DRIVERS_QCOW2_CORRUPTION_H_
#define MILLRACE_GRAPH_DRIVERS_QCOW2_CORRUPTION_H_

#include <cstdint>
#include <optional>
#include <string>

#include "millrace/engine/base/byte_range.h"

namespace millrace {

struct Qcow2Corruption {
  enum class Kind : uint8_t {
    kOther,          // told in words only
    kL2Table,        // L1 entry `index` points to `host`, which is not aligned to clusters
    kData,           // entry `index` of the L2 table at `table` points to `host`, not aligned
    kZeroFlag,       // entry `index` of the L2 table at `table` has it, in a version 2 image
    kEntry,          // entry `index` of the L2 table at `table` contradicts itself
    kRefcountBlock,  // entry `index` of the refcount table points to `host`, not aligned
    kOverlap,        // `file_range` was to be written, and `metadata` lies there
  };

  Kind kind = Kind::kOther;
  uint64_t host = 0;
  uint64_t table = 0;
  uint64_t index = 0;
  // kData: where a guest was about to write; and whether the entry says that zeroes are there.
  std::optional<uint64_t> guest_written{};
  bool is_zero = false;
  std::optional<ByteRange> file_range{};
  std::string metadata{};  // "L2 table"

  std::string node{};   // the image's node
  std::string words{};  // what was found, in a sentence's part
  // The image takes no more writes, and is marked corrupt. Else it is open for reading only.
  bool is_fatal = false;
};

}  // namespace millrace

#endif  // MILLRACE_GRAPH_DRIVERS_QCOW2_CORRUPTION_H_
