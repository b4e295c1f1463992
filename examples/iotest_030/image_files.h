// ImageFiles: the images of one case, in a folder of its own: made, filled, and looked at, each by
// itself, by our own driver and by QEMU's tools where they are installed.
//
// Images are named by their file's name. None of these may be used on an image that is open.
#ifndef MILLRACE_EXAMPLES_IOTEST_030_IMAGE_FILES_H_
#define MILLRACE_EXAMPLES_IOTEST_030_IMAGE_FILES_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/graph/driver_registry.h"
#include "millrace/graph/graph.h"

namespace millrace {

struct NewImage {
  std::string name;
  std::string format = "qcow2";
  uint64_t bytes = 0;
  // The file it stands on, or any name as it is to stand in the header.
  std::string backing = "";
  std::string backing_format = "";
};

class ImageFiles {
 public:
  // All outlive it. `asks_qemu`: whether QEMU's tools are asked as well.
  ImageFiles(Graph& graph, const DriverRegistry& registry, std::string folder, bool asks_qemu)
      : graph_(graph), registry_(registry), folder_(std::move(folder)), asks_qemu_(asks_qemu) {}

  std::string Path(std::string_view name) const { return folder_ + "/" + std::string(name); }
  absl::Status CoCreate(const NewImage& image) MILLRACE_MAY_SUSPEND;
  // Fills a range with one byte.
  absl::Status CoWrite(const std::string& name, uint8_t pattern, uint64_t offset, uint64_t bytes)
      MILLRACE_MAY_SUSPEND;
  // Any other file beside the images.
  absl::Status WriteText(const std::string& name, std::string_view text) const;

  // Which ranges the image itself holds: "0+512 1024+512".
  absl::StatusOr<std::string> CoMap(const std::string& name) MILLRACE_MAY_SUSPEND;
  // DataLoss unless both images hold the same ranges, by our driver and by qemu-io.
  absl::Status CoCheckSameMap(const std::string& a, const std::string& b) MILLRACE_MAY_SUSPEND;
  // DataLoss unless the range shows one byte, through the image's backing chain.
  absl::Status CoCheckShows(const std::string& name, uint8_t pattern, uint64_t offset,
                            uint64_t bytes) MILLRACE_MAY_SUSPEND;
  // Every image is free of corruption and leaks; by our check and by qemu-img's.
  absl::Status CoCheckAll() MILLRACE_MAY_SUSPEND;

  const std::string& FormatOf(const std::string& name) const { return formats_.at(name); }

 private:
  absl::StatusOr<std::string> MapByQemu(const std::string& name) const;

  Graph& graph_;
  const DriverRegistry& registry_;
  const std::string folder_;
  const bool asks_qemu_;
  std::map<std::string, std::string> formats_;
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_IOTEST_030_IMAGE_FILES_H_
