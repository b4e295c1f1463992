// PartsReader: finds where the parts of one read of a chain lie, then reads each file once, or
// tells who asks. Internal; not installed.
//
// Lives inside a request on the start of the chain; holds a request on every node that it has found
// something in, so that what it found stays where it is until it is destroyed.
#ifndef MILLRACE_GRAPH_IO_PARTS_READER_H_
#define MILLRACE_GRAPH_IO_PARTS_READER_H_

#include <cstdint>
#include <deque>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "millrace/engine/base/byte_range.h"
#include "millrace/graph/driver.h"
#include "millrace/graph/io/in_flight_request.h"
#include "millrace/graph/node.h"

namespace millrace {

class PartsReader {
 public:
  // What is read from one file: a protocol node.
  struct File {
    Node* node = nullptr;
    std::vector<IoPart> parts;
  };
  enum class Purpose : uint8_t {
    kRead,  // what lies in no file (zeroes, encoded data) is read while it is collected
    kFind,  // the memory is left alone
  };

  explicit PartsReader(Purpose purpose) : purpose_(purpose) {}

  // `top` is the topmost layer, `memory` holds the parts one after the other.
  absl::Status CoCollectParts(Node& top, absl::Span<const ChainPart> parts, const IoVector& memory)
      MILLRACE_MAY_SUSPEND;
  // Reads what was collected.
  absl::Status CoRead() MILLRACE_MAY_SUSPEND;

  // Whether all that was collected lies in files, with nobody in between. Only known of kFind.
  bool is_plain() const { return is_plain_; }
  absl::Span<const File> files() const { return files_; }

 private:
  // `deciding`, if not null, is the layer that decides what `layer` has not.
  absl::Status CoCollect(Node& layer, Node* deciding, ByteRange range, const IoVector& memory)
      MILLRACE_MAY_SUSPEND;
  static absl::Status CoReadFile(File& file) MILLRACE_MAY_SUSPEND;
  absl::Status CoCollectExtent(Node& layer, Node* deciding, const Extent& extent, uint64_t offset,
                               const IoVector& memory) MILLRACE_MAY_SUSPEND;
  absl::Status CoCollectBelow(Node& layer, uint64_t offset, const IoVector& memory)
      MILLRACE_MAY_SUSPEND;
  void Add(Node& file, uint64_t offset, const IoVector& memory);
  void Hold(Node& node);
  // True, and it is noted, if somebody only wants to know what lies in files.
  bool IsOutOfFiles();

  const Purpose purpose_;
  bool is_plain_ = true;
  std::vector<File> files_;
  std::vector<Node*> held_;
  std::deque<InFlightRequest> requests_;
};

// Parts in the order of the file; neighbours become one.
std::vector<IoPart> InFileOrder(std::vector<IoPart> parts);

// The primary child, if the format's data lie in it with nobody in between.
Node* PlainPrimary(const Node& node);

}  // namespace millrace

#endif  // MILLRACE_GRAPH_IO_PARTS_READER_H_
