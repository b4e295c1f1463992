#include "millrace/graph/open/driver_maker.h"

#include <unistd.h>

#include <optional>
#include <string>
#include <utility>

#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/printable_name.h"
#include "millrace/engine/base/status_context.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/graph_view.h"
#include "millrace/graph/open_file.h"
#include "millrace/graph/whole_file.h"

namespace millrace {
namespace {

constexpr uint64_t kConfigBytesMax = 1 << 20;

// Where nothing but image formats may stand: the driver, or that there is no such format. One that
// cannot be made without options is not one that a header can name.
absl::StatusOr<std::unique_ptr<Driver>> OnlyImageFormat(
    absl::StatusOr<std::unique_ptr<Driver>> driver, const NodeTree& tree, std::string_view path) {
  if (driver.ok() && (*driver)->kind() == NodeKind::kFormat) return driver;
  if (!driver.ok() && !absl::IsNotFound(driver.status()) &&
      !absl::IsInvalidArgument(driver.status())) {
    return driver;
  }
  return RefusalStatus(absl::StatusCode::kInvalidArgument,
                       {.reason = ConflictReason::kUnknownFormat,
                        .object = PrintableName(tree.driver),
                        .next_step = "state one that there is, as qcow2 or raw"},
                       StrCat("open '", PrintableName(path), "' as '", PrintableName(tree.driver),
                              "': there is no such image format here"));
}

// What a file is opened with is ours to say, below: a tree may come from a client or from a header,
// and would name any descriptor of this process, or another root.
absl::Status CheckHasNoOwn(const DriverOptions& options) {
  for (const char* own : {"descriptor", "open-root"}) {
    if (!options.contains(own)) continue;
    return absl::InvalidArgumentError(
        StrCat("driver 'file' has no option '", own, "' in a tree; leave it out"));
  }
  return absl::OkStatus();
}

// As users know it.
std::string NameOfFile(Graph& graph, NodeId id) MILLRACE_OPENS_VIEW {
  GraphView view(graph);
  const absl::StatusOr<NodeView> node = view.Resolve(id);
  return node.ok() ? node->filename() : std::string();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Driver>> DriverMaker::CoMake(const NodeTree& tree,
                                                            const Inherited& own,
                                                            std::string_view path) {
  DriverOptions options = tree.options;
  std::optional<int> descriptor;
  if (tree.driver == "blkdebug") {
    MILLRACE_RETURN_IF_ERROR(CoReadConfig(own, options));
  }
  if (tree.driver == "file") {
    MILLRACE_RETURN_IF_ERROR(CheckHasNoOwn(options));
    if (own.direct) options.insert({"direct", "on"});
    if (!rules_.locking.empty()) options.insert({"locking", rules_.locking});
    if (own.is_from_header && !rules_.gate.open_root.empty()) {
      options["open-root"] = rules_.gate.open_root;
    }
    MILLRACE_ASSIGN_OR_RETURN(descriptor, TakeDescriptor(!own.is_read_only, options));
  }
  absl::StatusOr<std::unique_ptr<Driver>> driver = registry_.Make(tree.driver, options);
  if (!driver.ok() && descriptor) close(*descriptor);
  if (!rules_.only_image_formats || own.is_file) return driver;
  return OnlyImageFormat(std::move(driver), tree, path);
}

absl::StatusOr<std::unique_ptr<Driver>> DriverMaker::MakeUnopened(const NodeTree& tree,
                                                                  const Inherited& own) const {
  DriverOptions options = tree.options;
  if (tree.driver == "blkdebug" && options.contains("config")) options["config"].clear();
  if (tree.driver == "file") {
    MILLRACE_RETURN_IF_ERROR(CheckHasNoOwn(options));
    if (own.direct) options.insert({"direct", "on"});
    DriverOptions of_trial = options;
    MILLRACE_ASSIGN_OR_RETURN(const std::optional<int> descriptor,
                              TakeDescriptor(!own.is_read_only, of_trial));
    if (descriptor) close(*descriptor);
  }
  return registry_.Make(tree.driver, options);
}

absl::StatusOr<std::unique_ptr<Driver>> DriverMaker::CoGuess(NodeTree& tree, const Inherited& own,
                                                             const Attachment& file,
                                                             std::string_view path) {
  MILLRACE_ASSIGN_OR_RETURN(tree.driver, CoGuessFormat(graph_, file));
  DriverOptions options = tree.options;
  if (tree.driver == "raw") {
    MILLRACE_RETURN_IF_ERROR(CheckRawGuess(own, file, path));
    options["guessed"] = "on";
  }
  absl::StatusOr<std::unique_ptr<Driver>> driver = registry_.Make(tree.driver, options);
  return rules_.only_image_formats ? OnlyImageFormat(std::move(driver), tree, path)
                                   : std::move(driver);
}

absl::Status DriverMaker::CheckRawGuess(const Inherited& own, const Attachment& file,
                                        std::string_view path) const {
  if (own.is_read_only) return absl::OkStatus();
  if (rules_.on_raw_guessed_for_writing) {
    rules_.on_raw_guessed_for_writing(NameOfFile(graph_, file.node()));
    return absl::OkStatus();
  }
  return RefusalStatus(
      absl::StatusCode::kPermissionDenied,
      {.reason = ConflictReason::kMissingFormat,
       .object = PrintableName(path),
       .next_step = "state the format if it is raw"},
      StrCat("open '", PrintableName(path),
             "' for writing: its format was not given, and it looks like raw, where a guest "
             "could write the header of another format"));
}

// Some names stand for a file that the embedder has opened.
absl::StatusOr<std::optional<int>> DriverMaker::TakeDescriptor(bool is_writable,
                                                               DriverOptions& options) const {
  const auto path = options.find("filename");
  if (!rules_.open_descriptor || path == options.end()) return std::nullopt;
  MILLRACE_ASSIGN_OR_RETURN(const std::optional<int> descriptor,
                            rules_.open_descriptor(path->second, is_writable));
  if (descriptor) options["descriptor"] = StrCat(*descriptor);
  return descriptor;
}

// The option names a file; the driver wants its text.
absl::Status DriverMaker::CoReadConfig(const Inherited& own, DriverOptions& options) {
  const auto config = options.find("config");
  if (config == options.end()) return absl::OkStatus();
  if (config->second == "/dev/null") {  // no file, but what people give who want no rules
    config->second.clear();
    return absl::OkStatus();
  }
  OpenFileOptions file;
  file.path = config->second;
  file.locking = "off";
  if (own.is_from_header) file.open_root = rules_.gate.open_root;
  file.holder = rules_.holder;
  absl::StatusOr<std::unique_ptr<WholeFile>> opened = WholeFile::CoOpen(graph_, registry_, file);
  if (!opened.ok()) return WithContext(opened.status(), "read the configuration: ");
  const std::unique_ptr<WholeFile> whole = *std::move(opened);
  absl::Status status;
  if (whole->bytes() > kConfigBytesMax) {
    status = absl::InvalidArgumentError(StrCat("read the configuration '", PrintableName(file.path),
                                               "': it has ", whole->bytes(), " bytes; at most ",
                                               kConfigBytesMax, " are read"));
  } else if (whole->bytes() == 0) {
    config->second.clear();
  } else {
    std::string text(whole->bytes(), '\0');
    status = whole->CoRead(0, IoVector(reinterpret_cast<uint8_t*>(text.data()), text.size()));
    // A file that ends in the middle of a block may be padded with zeroes.
    config->second = text.substr(0, text.find('\0'));
  }
  whole->CoClose();
  return status;
}

}  // namespace millrace
