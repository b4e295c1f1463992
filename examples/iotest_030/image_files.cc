#include "examples/iotest_030/image_files.h"

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <optional>
#include <vector>

#include "examples/common/run_program.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/attachment.h"
#include "millrace/graph/image_tools.h"
#include "millrace/graph/map_image.h"
#include "millrace/graph/open_image.h"

namespace millrace {
namespace {

constexpr uint64_t kPieceBytes = 1 << 20;

// An image that is open for one look or one write.
struct OpenFile {
  OpenedImage image;
  Attachment disk;

  void CoClose() MILLRACE_MAY_SUSPEND {
    disk.CoDetach();
    for (Attachment& hold : image.holds) hold.CoDetach();
  }
};

absl::StatusOr<OpenFile> CoOpen(Graph& graph, const DriverRegistry& registry,
                                OpenImageOptions options) MILLRACE_MAY_SUSPEND {
  options.gate.like_qemu = true;
  OpenFile file;
  MILLRACE_ASSIGN_OR_RETURN(file.image, CoOpenImage(graph, registry, options));
  AttachmentOptions user;
  user.holder = MakeHolder("test", "program");
  user.permissions.used = options.is_read_only ? kConsistentRead : kConsistentRead | kWrite;
  absl::StatusOr<Attachment> disk = Attachment::Attach(graph, file.image.top(), std::move(user));
  if (disk.ok()) {
    file.disk = *std::move(disk);
    return file;
  }
  for (Attachment& hold : file.image.holds) hold.CoDetach();
  return disk.status();
}

}  // namespace

absl::Status ImageFiles::CoCreate(const NewImage& image) {
  formats_[image.name] = image.format;
  CreateImageOptions options;
  options.path = Path(image.name);
  options.format = image.format;
  options.qcow2.bytes = image.bytes;
  const bool is_ours = formats_.count(image.backing) > 0;
  options.qcow2.backing_filename = is_ours ? Path(image.backing) : image.backing;
  options.qcow2.backing_format = is_ours ? FormatOf(image.backing) : image.backing_format;
  return CoCreateImage(graph_, registry_, options);
}

absl::Status ImageFiles::CoWrite(const std::string& name, uint8_t pattern, uint64_t offset,
                                 uint64_t bytes) {
  OpenImageOptions options;
  options.path = Path(name);
  options.format = FormatOf(name);
  MILLRACE_ASSIGN_OR_RETURN(OpenFile file, CoOpen(graph_, registry_, options));
  const std::vector<uint8_t> data(std::min(bytes, kPieceBytes), pattern);
  absl::Status status;
  for (uint64_t done = 0; done < bytes && status.ok(); done += data.size()) {
    status = file.disk.CoWrite(offset + done,
                               IoVector::OfConst(data.data(), std::min(bytes - done, data.size())));
  }
  file.CoClose();
  return status;
}

absl::Status ImageFiles::WriteText(const std::string& name, std::string_view text) const {
  std::ofstream file(Path(name), std::ios::binary);
  file << text;
  file.close();
  return file.fail() ? absl::UnavailableError(StrCat("cannot write '", Path(name), "'"))
                     : absl::OkStatus();
}

absl::StatusOr<std::string> ImageFiles::CoMap(const std::string& name) {
  OpenImageOptions options;
  options.path = Path(name);
  options.format = FormatOf(name);
  options.is_read_only = true;
  options.opens_backing = false;
  MILLRACE_ASSIGN_OR_RETURN(OpenFile file, CoOpen(graph_, registry_, options));
  std::vector<ByteRange> held;
  const absl::Status status = CoMapImage(file.disk, [&](const MapExtent& run) {
    if (!run.is_present) return;
    if (!held.empty() && held.back().end() == run.offset) {
      held.back() = ByteRange(held.back().offset, held.back().bytes + run.bytes);
    } else {
      held.emplace_back(run.offset, run.bytes);
    }
  });
  file.CoClose();
  if (!status.ok()) return status;
  std::string text;
  for (const ByteRange& range : held) {
    StrAppend(&text, text.empty() ? "" : " ", range.offset, "+", range.bytes);
  }
  return text;
}

absl::StatusOr<std::string> ImageFiles::MapByQemu(const std::string& name) const {
  const ProgramResult asked =
      RunProgram({"qemu-io", "-r", "-f", FormatOf(name), "-c", "map", Path(name)});
  if (asked.status == -ENOENT) return std::string();
  if (asked.status == 0) return asked.output;
  return absl::DataLossError(StrCat("qemu-io cannot map '", name, "': ", asked.output));
}

absl::Status ImageFiles::CoCheckSameMap(const std::string& a, const std::string& b) {
  MILLRACE_ASSIGN_OR_RETURN(const std::string map_a, CoMap(a));
  MILLRACE_ASSIGN_OR_RETURN(const std::string map_b, CoMap(b));
  if (map_a != map_b) {
    return absl::DataLossError(
        StrCat("'", a, "' holds ", map_a, "; '", b, "' holds ", map_b, "; they should be equal"));
  }
  if (!asks_qemu_) return absl::OkStatus();
  MILLRACE_ASSIGN_OR_RETURN(const std::string qemu_a, MapByQemu(a));
  MILLRACE_ASSIGN_OR_RETURN(const std::string qemu_b, MapByQemu(b));
  if (qemu_a == qemu_b) return absl::OkStatus();
  return absl::DataLossError(
      StrCat("qemu-io's map of '", a, "' is ", qemu_a, "; that of '", b, "' is ", qemu_b));
}

absl::Status ImageFiles::CoCheckShows(const std::string& name, uint8_t pattern, uint64_t offset,
                                      uint64_t bytes) {
  OpenImageOptions options;
  options.path = Path(name);
  options.format = FormatOf(name);
  options.is_read_only = true;
  MILLRACE_ASSIGN_OR_RETURN(OpenFile file, CoOpen(graph_, registry_, options));
  std::vector<uint8_t> data(bytes);
  const absl::Status status = file.disk.CoRead(offset, IoVector(data.data(), data.size()));
  file.CoClose();
  if (!status.ok()) return status;
  const auto other =
      std::find_if(data.begin(), data.end(), [&](uint8_t byte) { return byte != pattern; });
  if (other == data.end()) return absl::OkStatus();
  return absl::DataLossError(StrCat("'", name, "' shows ", int{*other}, " at ",
                                    offset + static_cast<uint64_t>(other - data.begin()),
                                    "; it should be ", int{pattern}));
}

absl::Status ImageFiles::CoCheckAll() {
  for (const auto& [name, format] : formats_) {
    if (format != "qcow2") continue;
    MILLRACE_ASSIGN_OR_RETURN(const Qcow2CheckResult result,
                              CoCheckImage(graph_, registry_, {Path(name), format}, {}));
    if (!result.is_clean()) {
      return absl::DataLossError(StrCat("'", name, "' has ", result.corruptions,
                                        " corruptions and ", result.leaks, " leaked clusters"));
    }
    if (!asks_qemu_) continue;
    const ProgramResult asked = RunProgram({"qemu-img", "check", "-f", format, Path(name)});
    if (asked.status != 0 && asked.status != -ENOENT) {
      return absl::DataLossError(StrCat("qemu-img check of '", name, "': ", asked.output));
    }
  }
  return absl::OkStatus();
}

}  // namespace millrace
