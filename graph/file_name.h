// The name of a node as clients see it: what queries show, what `base` and `top` are compared with,
// and what an overlay's header is told about a new backing image.
//
//   exact   "disk.qcow2", "blkdebug:rules.cfg:disk.qcow2", "null-co://": opening that name
//           again, as this node's format, gives the same nodes;
//   json    "json:{"driver": "qcow2", "file": {...}}" where no such name exists: a filter, options
//           that change what is read, or a backing image other than the one the header leads to.
//
// A name depends on everything below the node (kAsItIs), or on its own files (kPastFilters).
// FileNames remembers what it has worked out, so that asking for all layers of a chain costs no
// more than asking for its top; it walks without recursion, because a chain has no bound. Lives
// inside a view; nothing suspends.
#ifndef MILLRACE_GRAPH_FILE_NAME_H_
#define MILLRACE_GRAPH_FILE_NAME_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "millrace/graph/graph_view.h"

namespace millrace {

struct FileName {
  std::string shown;  // what users see: the exact name, or "json:" and the options
  std::string exact;  // empty: there is none
  // The node and what is below it as one JSON object; empty for nodes that no options can describe.
  std::string options;
};

class FileNames {
 public:
  enum class Backing : uint8_t {
    kAsItIs,       // a filter between two images makes the name of the upper one json:, as in QEMU
    kPastFilters,  // what an image header is told, which must be a name that the open gate lets
                   // pass: filters are not looked at, and another backing than an image's own
                   // header says is that header's matter, not the overlay's
  };
  // `reader` must outlive it, unchanged.
  explicit FileNames(const GraphReader& reader, Backing backing = Backing::kAsItIs)
      : reader_(reader), backing_(backing) {}

  const FileName& Of(const NodeView& node);
  // Whether the image below is another than the one that the node's header leads to, or missing.
  bool IsBackingOverridden(const NodeView& node);

 private:
  const FileName& Of(const Node& node);
  bool IsOverridden(const Node& node);
  FileName Name(const Node& node);
  // Where an edge leads, past filters if so wanted.
  const Node* Below(const Edge& edge) const;

  const GraphReader& reader_;
  const Backing backing_;
  std::unordered_map<const Node*, FileName> names_;  // look-ups only
};

// The host file that a node stands on, by its primary and filtered children; empty if there is
// none.
std::string HostPath(const NodeView& node);

// Members of a JSON object, in the order in which QEMU prints them.
using JsonMember = std::pair<std::string, std::string>;
std::string JsonObjectLikeQemu(std::vector<JsonMember> members);

// The overlays, from the top down, were opened with what their headers name below them: whatever
// that is called now is not "overridden".
void RememberBackingNames(Graph& graph, const std::vector<NodeId>& overlays) MILLRACE_OPENS_VIEW;

}  // namespace millrace

#endif  // MILLRACE_GRAPH_FILE_NAME_H_
