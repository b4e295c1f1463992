// What a client says about a node (blockdev-add, --blockdev, --drive, "json:" names), read into a
// NodeTree. The table of drivers, their options and children is here.
//
// Errors are QMP errors in QEMU's words. No suspension.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_TREE_OPTIONS_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_TREE_OPTIONS_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "examples/hypervisor/qmp/argument_reader.h"
#include "millrace/graph/node_tree.h"

namespace millrace {

enum class TreeStyle : uint8_t {
  kBlockdev,  // "driver" must be there, and so must the children that the driver needs
  kDrive,     // everything may be missing: the header, or the file's first bytes, will say
};

// Reads a node's options; the reader is finished here. `opens`: the node is to be opened with them;
// a node that is open already may have options that nobody could open it with.
absl::StatusOr<NodeTree> ReadNodeTree(ArgumentReader& reader, TreeStyle style, bool opens = true);

// Whether the size of a raw node can be: that is looked at when it is opened, after its name.
absl::Status CheckRawSize(const NodeTree& tree);

// What "json:{...}" means; `text` is what follows the colon.
absl::StatusOr<NodeTree> ParseJsonFileName(std::string_view text);

// An option that a driver does not have.
std::string UnknownOptionText(std::string_view driver, std::string_view option);

// Names of the formats that there are, for "format=help".
std::vector<std::string_view> FormatNames();

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_TREE_OPTIONS_H_
