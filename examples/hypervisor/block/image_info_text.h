// ImageInfo as `info block -v` and `qemu-io info` write it for people.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_IMAGE_INFO_TEXT_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_IMAGE_INFO_TEXT_H_

#include <string>

#include "examples/hypervisor/qmp/json.h"

namespace millrace {

// "196 KiB", with three digits that count.
std::string RoundedSizeText(uint64_t bytes);

// An image without those below it, a line for each thing; lines end with "\n".
std::string ImageInfoText(const json::object& image);

// The lines of "format-specific", indented; nothing if there is none.
std::string FormatFactsText(const json::object& image);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_IMAGE_INFO_TEXT_H_
