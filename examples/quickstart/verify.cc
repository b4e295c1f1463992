#include "examples/quickstart/verify.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>

#include "examples/common/run_program.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/coroutine/coroutine.h"
#include "millrace/graph/backing_chain.h"
#include "millrace/graph/graph_view.h"
#include "millrace/graph/image_tools.h"
#include "millrace/graph/map_image.h"
#include "millrace/graph/open_image.h"

namespace millrace {
namespace {

constexpr uint64_t kComparedBytes = 1 << 20;

std::string NumbersInWords(const std::vector<size_t>& numbers) {
  std::string words;
  for (const size_t number : numbers) StrAppend(&words, words.empty() ? "" : " <- ", number);
  return words;
}

// Which of the chain's files stand below one another, as the headers say now.
std::vector<size_t> ImagesOf(Graph& graph, const OpenedImage& opened, const BuiltChain& chain)
    MILLRACE_OPENS_VIEW {
  GraphView view(graph);
  std::vector<size_t> images;
  for (const NodeId id : opened.images) {
    const absl::StatusOr<NodeView> node = view.Resolve(id);
    const std::string path = node->Child(Role::kPrimary)->filename();
    images.push_back(static_cast<size_t>(std::find(chain.paths.begin(), chain.paths.end(), path) -
                                         chain.paths.begin()));
  }
  return images;
}

// Reads what `disk` shows into a model; holes are not read. DataLoss: bytes that nobody wrote.
absl::StatusOr<DiskModel> CoReadModel(const Attachment& map, Attachment& disk)
    MILLRACE_MAY_SUSPEND {
  std::vector<ByteRange> runs;
  MILLRACE_RETURN_IF_ERROR(CoMapImage(map, [&](const MapExtent& run) {
    if (!run.is_zero) runs.emplace_back(run.offset, run.bytes);
  }));
  DiskModel model(disk.bytes());
  std::vector<uint8_t> memory(kComparedBytes);
  for (const ByteRange& run : runs) {
    for (uint64_t at = run.offset; at < run.end();) {
      if (Coroutine::Current()->is_cancelled()) return absl::CancelledError("cancelled");
      const uint64_t bytes = std::min(kComparedBytes, run.end() - at);
      MILLRACE_RETURN_IF_ERROR(disk.CoRead(at, IoVector(memory.data(), bytes)));
      for (uint64_t i = 0; i < bytes; i += DiskModel::kSectorBytes) {
        const uint64_t sector = (at + i) / DiskModel::kSectorBytes;
        const std::optional<uint32_t> tag = DiskModel::TagOf(sector, memory.data() + i);
        if (!tag) {
          return absl::DataLossError(StrCat("sector ", sector, " holds bytes that nobody wrote"));
        }
        model.Write(ByteRange(at + i, DiskModel::kSectorBytes), *tag);
      }
      at += bytes;
    }
  }
  return model;
}

absl::StatusOr<DiskModel> CoShownBy(Graph& graph, NodeId image) MILLRACE_MAY_SUSPEND {
  AttachmentOptions options;
  options.holder = MakeHolder("verifier", "program");
  options.permissions.used = kConsistentRead;
  MILLRACE_ASSIGN_OR_RETURN(Attachment disk, Attachment::Attach(graph, image, std::move(options)));
  absl::StatusOr<DiskModel> model = CoReadModel(disk, disk);
  disk.CoDetach();
  return model;
}

// Of the top every sector is known, of the others a digest of them all.
absl::Status Compare(const DiskModel& shown, size_t image, const BuiltChain& chain,
                     const ExpectedChain& expected) {
  if (image == expected.images.front()) return chain.model.Compare(shown);
  if (shown.Digest() == expected.digests.at(image)) return absl::OkStatus();
  return absl::DataLossError("it does not show what it should");
}

absl::Status CoVerifyOpen(Graph& graph, const OpenedImage& opened, const BuiltChain& chain,
                          const ExpectedChain& expected) MILLRACE_MAY_SUSPEND {
  const std::vector<size_t> images = ImagesOf(graph, opened, chain);
  if (images != expected.images) {
    return absl::DataLossError(StrCat("chain '", chain.name, "': the headers say ",
                                      NumbersInWords(images), "; it should be ",
                                      NumbersInWords(expected.images)));
  }
  for (size_t i = 0; i < images.size(); ++i) {
    const absl::StatusOr<DiskModel> shown = CoShownBy(graph, opened.images[i]);
    absl::Status status = shown.status();
    if (shown.ok()) status = Compare(*shown, images[i], chain, expected);
    if (status.ok()) continue;
    return absl::Status(status.code(),
                        StrCat(chain.paths[images[i]], ": ", FromAbsl(status.message())));
  }
  return absl::OkStatus();
}

absl::Status WriteRawCopy(const DiskModel& model, const std::string& path) {
  std::ofstream file(path, std::ios::binary);
  std::vector<uint8_t> memory(kComparedBytes);
  for (uint64_t at = 0; at < model.bytes(); at += kComparedBytes) {
    const uint64_t bytes = std::min(kComparedBytes, model.bytes() - at);
    model.Expect(ByteRange(at, bytes), memory.data());
    // Pieces of zeroes stay holes.
    if (std::all_of(memory.begin(), memory.begin() + static_cast<ptrdiff_t>(bytes),
                    [](uint8_t byte) { return byte == 0; })) {
      continue;
    }
    file.seekp(static_cast<std::streamoff>(at));
    file.write(reinterpret_cast<const char*>(memory.data()), static_cast<std::streamsize>(bytes));
  }
  file.close();
  std::error_code error;
  std::filesystem::resize_file(path, model.bytes(), error);
  if (file.fail() || error) return absl::UnavailableError(StrCat("cannot write '", path, "'"));
  return absl::OkStatus();
}

}  // namespace

absl::Status CoVerifyChain(Graph& graph, const DriverRegistry& registry, const BuiltChain& chain,
                           const ExpectedChain& expected) {
  OpenImageOptions options;
  options.path = chain.paths.back();
  options.format = "qcow2";
  options.is_read_only = true;
  MILLRACE_ASSIGN_OR_RETURN(OpenedImage opened, CoOpenImage(graph, registry, options));
  absl::Status status = CoVerifyOpen(graph, opened, chain, expected);
  opened.holds[0].CoDetach();
  return status;
}

absl::Status CoCheckImages(Graph& graph, const DriverRegistry& registry, const BuiltChain& chain) {
  for (const std::string& path : chain.paths) {
    OpenImageOptions options;
    options.path = path;
    options.format = "qcow2";
    options.is_read_only = true;
    MILLRACE_ASSIGN_OR_RETURN(OpenedImage opened, CoOpenImage(graph, registry, options));
    opened.holds[0].CoDetach();
    MILLRACE_ASSIGN_OR_RETURN(
        const Qcow2CheckResult result,
        CoCheckImage(graph, registry, {path, "qcow2"}, {.is_cancellable = true}));
    if (result.is_clean()) continue;
    return absl::DataLossError(
        StrCat(path, ": ", result.corruptions, " corruptions, ", result.leaks, " leaked clusters",
               result.findings.empty() ? "" : StrCat("; first: ", result.findings.front())));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> VerifyWithQemu(const BuiltChain& chain,
                                           absl::FunctionRef<bool()> must_stop) {
  for (const std::string& path : chain.paths) {
    if (must_stop()) return absl::CancelledError("the verification was cancelled");
    const int exit_code = RunProgram({"qemu-img", "check", "-q", "-f", "qcow2", path}).status;
    if (exit_code == -ENOENT) return std::string("qemu-img is not installed: not asked");
    if (exit_code == 0) continue;
    return absl::DataLossError(StrCat("qemu-img check of ", path, " ended with ", exit_code));
  }
  const std::string copy = chain.paths.back() + ".expected.raw";
  MILLRACE_RETURN_IF_ERROR(WriteRawCopy(chain.model, copy));
  const int exit_code = RunProgram({"qemu-img", "compare", "-q", "-f", "qcow2", "-F", "raw",
                                    chain.paths.back(), copy})
                            .status;
  unlink(copy.c_str());
  if (exit_code != 0) {
    return absl::DataLossError(
        StrCat("qemu-img compare of ", chain.paths.back(), " ended with ", exit_code));
  }
  return std::string("qemu-img check and compare agree");
}

}  // namespace millrace
