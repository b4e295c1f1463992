// millrace info: says what an image is. The JSON has the keys of `qemu-img info --output=json`.
#include <cstdio>
#include <set>
#include <string>
#include <vector>

#include "examples/cli/commands.h"
#include "examples/cli/exit_code.h"
#include "examples/cli/session.h"
#include "examples/common/sizes.h"
#include "millrace/engine/base/json_writer.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

constexpr std::string_view kInfoHelp =
    "Says what an image is: its virtual size, what it takes on disk, its features, snapshots and\n"
    "bitmaps, and the image it stands on. Reads the header only, opens no other file (--chain "
    "opens\n"
    "the backing files), and never writes.\n"
    "\n"
    "  millrace info disk.qcow2\n"
    "  millrace info --chain --json overlay.qcow2";

struct Described {
  std::string path;
  ImageDescription image;
  std::string backing_path;  // resolved; empty: none, or the gate forbids it
};

std::string_view CompressionName(Qcow2Compression compression) {
  return compression == Qcow2Compression::kZstd ? "zstd" : "zlib";
}

// ---- JSON ---------------------------------------------------------------------------------------

void WriteSnapshots(JsonWriter& json, const Qcow2Info& info) {
  if (info.snapshots.empty()) return;
  json.Key("snapshots").BeginArray();
  for (const Qcow2SnapshotInfo& snapshot : info.snapshots) {
    json.BeginObject().Key("id").String(snapshot.id).Key("name").String(snapshot.name);
    json.Key("vm-state-size").Number(snapshot.vm_state_bytes);
    json.Key("date-sec").Number(snapshot.date_seconds);
    json.Key("date-nsec").Number(uint64_t{snapshot.date_nanoseconds});
    json.Key("vm-clock-sec").Number(snapshot.vm_clock_nanoseconds / 1'000'000'000);
    json.Key("vm-clock-nsec").Number(snapshot.vm_clock_nanoseconds % 1'000'000'000).EndObject();
  }
  json.EndArray();
}

void WriteBitmaps(JsonWriter& json, const Qcow2Info& info) {
  if (info.bitmaps.empty()) return;
  json.Key("bitmaps").BeginArray();
  for (const Qcow2BitmapInfo& bitmap : info.bitmaps) {
    json.BeginObject().Key("name").String(bitmap.name);
    json.Key("granularity").Number(bitmap.granularity_bytes).Key("flags").BeginArray();
    if (bitmap.is_in_use) json.String("in-use");
    if (bitmap.is_recording) json.String("auto");
    json.EndArray().EndObject();
  }
  json.EndArray();
}

void WriteQcow2(JsonWriter& json, const Qcow2Info& info) {
  json.Key("cluster-size").Number(info.cluster_bytes);
  json.Key("dirty-flag").Bool(info.is_dirty);
  if (info.is_encrypted) json.Key("encrypted").Bool(true);
  WriteSnapshots(json, info);
  json.Key("format-specific").BeginObject().Key("type").String("qcow2").Key("data").BeginObject();
  json.Key("compat").String(info.version >= 3 ? "1.1" : "0.10");
  json.Key("compression-type").String(CompressionName(info.compression));
  json.Key("refcount-bits").Number(uint64_t{info.refcount_bits});
  if (info.version >= 3) {
    json.Key("lazy-refcounts").Bool(info.has_lazy_refcounts);
    json.Key("corrupt").Bool(info.is_corrupt);
    json.Key("extended-l2").Bool(info.has_extended_l2);
  }
  if (!info.data_file.empty()) json.Key("data-file").String(info.data_file);
  WriteBitmaps(json, info);
  if (!info.unknown_features.empty()) {
    json.Key("unknown-features").BeginArray();
    for (const std::string& feature : info.unknown_features) json.String(feature);
    json.EndArray();
  }
  json.EndObject().EndObject();
}

void WriteJson(JsonWriter& json, const Described& described) {
  const ImageDescription& image = described.image;
  json.BeginObject().Key("filename").String(described.path).Key("format").String(image.format);
  json.Key("virtual-size").Number(image.bytes).Key("actual-size").Number(image.allocated_bytes);
  json.Key("file-length").Number(image.file_bytes);
  if (!image.backing.filename.empty()) {
    json.Key("backing-filename").String(image.backing.filename);
    if (!described.backing_path.empty()) {
      json.Key("full-backing-filename").String(described.backing_path);
    }
    if (!image.backing.format.empty()) {
      json.Key("backing-filename-format").String(image.backing.format);
    }
  }
  if (image.qcow2) WriteQcow2(json, *image.qcow2);
  json.EndObject();
}

// ---- Text ---------------------------------------------------------------------------------------

void Print(std::string_view key, std::string_view value) {
  printf("%.*s: %.*s\n", static_cast<int>(key.size()), key.data(), static_cast<int>(value.size()),
         value.data());
}

std::string FeaturesInWords(const Qcow2Info& info) {
  std::string words = StrCat("version ", info.version, ", refcounts of ", info.refcount_bits,
                             " bits, compression ", CompressionName(info.compression));
  if (info.has_extended_l2) words += ", extended L2 entries";
  if (info.has_lazy_refcounts) words += ", lazy refcounts";
  return words;
}

void PrintQcow2(const Qcow2Info& info) {
  Print("cluster size", BytesInWords(info.cluster_bytes));
  Print("features", FeaturesInWords(info));
  if (info.is_dirty)
    Print("state", "dirty: not closed properly; 'check --repair all' puts it right");
  if (info.is_corrupt)
    Print("state", "marked corrupt: not written to; 'check --repair all' puts it right");
  if (info.is_encrypted) Print("encrypted", "yes; such images can be described, not opened");
  if (!info.data_file.empty()) {
    Print("data file", StrCat(PrintableName(info.data_file), " (not opened; not supported)"));
  }
  for (const std::string& feature : info.unknown_features) {
    Print("unknown feature", PrintableName(feature));
  }
  for (const Qcow2SnapshotInfo& snapshot : info.snapshots) {
    Print("snapshot", StrCat(PrintableName(snapshot.id), " '", PrintableName(snapshot.name),
                             "', disk of ", BytesInWords(snapshot.disk_bytes), ", state of ",
                             BytesInWords(snapshot.vm_state_bytes)));
  }
  for (const Qcow2BitmapInfo& bitmap : info.bitmaps) {
    Print("bitmap",
          StrCat("'", PrintableName(bitmap.name), "', granularity ",
                 BytesInWords(bitmap.granularity_bytes), bitmap.is_in_use ? ", inconsistent" : "",
                 bitmap.is_recording ? ", recording" : ""));
  }
}

void PrintText(const Described& described) {
  const ImageDescription& image = described.image;
  Print("image", described.path);
  Print("file format", image.format);
  Print("virtual size", StrCat(BytesInWords(image.bytes), " (", image.bytes, " bytes)"));
  Print("disk size", BytesInWords(image.allocated_bytes));
  if (!image.backing.filename.empty()) {
    const std::string name = PrintableName(image.backing.filename);
    Print("backing file", described.backing_path.empty() || described.backing_path == name
                              ? name
                              : StrCat(name, " (", PrintableName(described.backing_path), ")"));
    Print("backing file format",
          image.backing.format.empty() ? "not stated" : PrintableName(image.backing.format));
  }
  if (image.qcow2) PrintQcow2(*image.qcow2);
}

// ---- Work ---------------------------------------------------------------------------------------

absl::Status CoDescribeAll(Session& session, const SessionFlags& flags, const std::string& path,
                           bool is_whole_chain, std::vector<Described>* all) MILLRACE_MAY_SUSPEND {
  const OpenGatePolicy gate = flags.OpenOptions(path, true).gate;
  ImagePathOptions next = flags.PathOptions(path);
  std::set<std::string> seen;
  for (;;) {
    MILLRACE_RETURN_IF_ERROR(StopIfInterrupted());
    if (!seen.insert(next.path).second || seen.size() > gate.chain_depth_max) {
      return absl::FailedPreconditionError(StrCat("the backing chain of '", path,
                                                  "' is a loop or too long at '", next.path,
                                                  "'; correct the backing file there"));
    }
    Described described;
    described.path = next.path;
    MILLRACE_ASSIGN_OR_RETURN(described.image,
                              CoDescribeImage(session.graph(), session.registry(), next));
    const BackingReference reference = described.image.backing;
    absl::StatusOr<GatedImage> below = reference.filename.empty()
                                           ? absl::NotFoundError("no backing file")
                                           : ResolveBackingReference(gate, next.path, reference);
    if (below.ok()) described.backing_path = below->path;
    all->push_back(std::move(described));
    if (!is_whole_chain || reference.filename.empty()) return StopIfInterrupted();
    MILLRACE_RETURN_IF_ERROR(below.status());
    next.path = below->path;
    next.format = below->format;
  }
}

}  // namespace

int RunInfo(Words words) {
  SessionFlags flags;
  std::string path;
  bool is_whole_chain = false;
  CommandLine line("info", "info [OPTION...] IMAGE", kInfoHelp);
  line.Flag("chain", &is_whole_chain, "describe the backing files too");
  flags.AddTo(line, /*has_force_share=*/true);
  line.Argument("IMAGE", &path);
  if (absl::Status status = line.Parse(words); !status.ok()) return ReportUsage(status);
  if (line.wants_help()) return fputs(line.Help().c_str(), stdout), kExitSuccess;
  Session session;
  std::vector<Described> all;
  absl::Status status = session.Start(flags);
  if (status.ok()) {
    status = session.Run([&]() MILLRACE_MAY_SUSPEND {
      return CoDescribeAll(session, flags, path, is_whole_chain, &all);
    });
  }
  if (!status.ok()) return ReportError(status, flags);
  if (flags.json) {
    JsonWriter json;
    if (is_whole_chain) json.BeginArray();
    for (const Described& described : all) WriteJson(json, described);
    if (is_whole_chain) json.EndArray();
    puts(json.Take().c_str());
    return kExitSuccess;
  }
  for (size_t i = 0; i < all.size(); ++i) {
    if (i > 0) putchar('\n');
    PrintText(all[i]);
  }
  return kExitSuccess;
}

}  // namespace millrace
