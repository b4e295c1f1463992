#include "tests/support/qcow2_interop.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/io/simulated_disk.h"
#include "tests/support/qcow2_images.h"
#include "tests/support/qcow2_interop_guest.h"
#include "tests/support/qcow2_workload.h"
#include "tests/support/qemu_tools.h"

namespace millrace {
namespace {

constexpr char kImage[] = "img.qcow2";
constexpr char kBase[] = "base.raw";

class RoundTrip {
 public:
  RoundTrip(uint64_t seed, InteropCounts& counts)
      : random_(seed, "interop"),
        counts_(counts),
        options_(RandomOptions(random_)),
        has_guest_(seed % 2 == 0) {
    options_.compression = options_.version == 3 && random_.OneIn(3) ? Qcow2Compression::kZstd
                                                                     : Qcow2Compression::kZlib;
    has_backing_ = options_.preallocation == Qcow2Preallocation::kOff && random_.OneIn(2);
  }

  absl::Status Run() {
    MILLRACE_RETURN_IF_ERROR(Create());
    const uint64_t turns = 2 + random_.Below(3);
    bool ours = random_.OneIn(2);
    for (uint64_t turn = 0; turn < turns; ++turn, ours = !ours) {
      MILLRACE_RETURN_IF_ERROR(ours ? OurTurn() : QemuTurn());
      MILLRACE_RETURN_IF_ERROR(Compare());
    }
    return absl::OkStatus();
  }
  std::string Describe() const {
    return StrCat(millrace::Describe(options_), has_backing_ ? ", backed" : "",
                  has_guest_ ? ", by a guest" : "");
  }

 private:
  absl::Status Create() {
    ++counts_.images;
    if (has_backing_) {
      backing_ = Pattern(AlignUp(options_.bytes, 512), random_.Next());
      WriteFile(folder_.File(kBase), backing_);
    }
    model_ = backing_;
    model_.resize(AlignUp(options_.bytes, 512));
    if (random_.OneIn(2)) return CreateWithQemu();
    Qcow2CreateOptions options = options_;
    if (has_backing_) {
      options.backing_filename = kBase;
      options.backing_format = "raw";
    }
    CrashDisk disk = MakeImage(options);
    WriteFile(folder_.File(kImage), disk.live());
    return absl::OkStatus();
  }
  absl::Status CreateWithQemu() {
    std::string format = StrCat("compat=", options_.version == 2 ? "0.10" : "1.1",
                                ",cluster_size=", options_.cluster_bytes);
    if (options_.version == 3) {
      StrAppend(&format, ",refcount_bits=", options_.refcount_bits,
                ",extended_l2=", options_.extended_l2 ? "on" : "off",
                ",lazy_refcounts=", options_.lazy_refcounts ? "on" : "off", ",compression_type=",
                options_.compression == Qcow2Compression::kZstd ? "zstd" : "zlib");
    }
    if (options_.preallocation == Qcow2Preallocation::kMetadata) {
      format += ",preallocation=metadata";
    }
    std::vector<std::string> command = {"qemu-img", "create", "-f", "qcow2", "-o", format};
    if (has_backing_) command.insert(command.end(), {"-b", kBase, "-F", "raw"});
    command.insert(command.end(), {folder_.File(kImage), std::to_string(model_.size())});
    return RunTool(command).status();
  }

  // ---- Turns ------------------------------------------------------------------------------------
  absl::Status OurTurn() {
    const uint64_t seed = random_.Next();
    return has_guest_ ? GuestTurn(seed) : DriverTurn(seed);
  }
  absl::Status GuestTurn(uint64_t seed) {
    SimulatedDisk disk;
    const std::vector<uint8_t> image = ReadFile(folder_.File(kImage));
    disk.Put(kImage, Text(image));
    if (has_backing_) disk.Put(kBase, Text(backing_));
    const InteropGuestOptions options{.path = kImage,
                                      .cluster_bytes = options_.cluster_bytes,
                                      .may_grow = snapshots_.empty(),
                                      .seed = seed};
    MILLRACE_RETURN_IF_ERROR(RunInteropGuest(disk, options, model_, counts_.operations));
    ++counts_.guest_turns;
    const std::string content = disk.Contents(kImage);
    WriteFile(folder_.File(kImage), std::vector<uint8_t>(content.begin(), content.end()));
    return absl::OkStatus();
  }
  static std::string_view Text(const std::vector<uint8_t>& bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  // The driver alone, one request at a time.
  absl::Status DriverTurn(uint64_t seed) {
    CrashDisk disk(ReadFile(folder_.File(kImage)));
    auto engine = SimulatedEngine();
    FakeDriverContext context(*engine, disk);
    FormatNode node(context, MakeQcow2Driver(), backing_);
    Qcow2Workload workload(seed, node, model_, snapshots_.empty());
    const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      absl::Status result = node.CoOpen();
      if (result.ok()) result = workload.CoVerifyAll();
      for (int step = 0; step < 25 && result.ok(); ++step, ++counts_.operations) {
        result = workload.CoStep();
      }
      if (result.ok()) result = workload.CoVerifyAll();
      node.CoClose();
      return result;
    });
    MILLRACE_RETURN_IF_ERROR(status);
    if (!context.warnings().empty()) return absl::InternalError(context.warnings().front());
    model_ = workload.model();
    WriteFile(folder_.File(kImage), disk.live());
    return absl::OkStatus();
  }
  absl::Status QemuTurn() {
    std::vector<std::string> command = {"qemu-io", "-f", "qcow2", "-d", "unmap"};
    std::vector<QemuStep> steps;
    for (int step = 0; step < 12; ++step, ++counts_.operations) steps.push_back(RandomQemuStep());
    // QEMU 7.2 goes on filling the host cluster of the last compressed write after that has been
    // overwritten and its cluster given to other data, and so damages its own image ("write -c 0
    // 4K; write 0 4K; write 8K 4K; write -c 16K 4K"). Within one process, compressed writes come
    // first.
    std::stable_partition(steps.begin(), steps.end(), [](const QemuStep& step) {
      return step.command.compare(0, 8, "write -c") == 0;
    });
    for (const QemuStep& step : steps) command.insert(command.end(), {"-c", step.command});
    command.push_back(folder_.File(kImage));
    MILLRACE_RETURN_IF_ERROR(TakeIn(steps, RunToolThatMayFail(command).output));
    // Narrow refcounts overflow: a cluster counts every snapshot and every compressed piece in it.
    if (random_.OneIn(3) && options_.refcount_bits >= 16 && snapshots_.size() < 2) {
      const std::string name = StrCat("snap", snapshots_.size());
      MILLRACE_RETURN_IF_ERROR(
          RunTool({"qemu-img", "snapshot", "-c", name, folder_.File(kImage)}).status());
      snapshots_.push_back({name, model_});
    }
    if (random_.OneIn(3) && options_.version == 3) {
      MILLRACE_RETURN_IF_ERROR(RunTool({"qemu-img", "bitmap", "--add", folder_.File(kImage),
                                        StrCat("bitmap", bitmaps_++)})
                                   .status());
    }
    return absl::OkStatus();
  }
  // What qemu-io was told, and what that makes of the model.
  struct QemuStep {
    std::string command;
    uint64_t offset = 0;
    uint64_t bytes = 0;
    uint8_t value = 0;
    bool is_discard = false;
  };
  // Of each command in its output, whether it was done.
  static std::vector<bool> OutcomesIn(std::string_view output) {
    std::vector<bool> outcomes;
    while (!output.empty()) {
      const std::string_view line = output.substr(0, output.find('\n'));
      output.remove_prefix(std::min(line.size() + 1, output.size()));
      const auto begins = [&](std::string_view with) {
        return line.substr(0, with.size()) == with;
      };
      if (begins("write failed") || begins("discard failed")) {
        outcomes.push_back(false);
      } else if (begins("wrote ") || begins("discard ")) {
        outcomes.push_back(true);
      }
    }
    return outcomes;
  }
  // The model after QEMU's steps. One may fail: compressed data cannot overwrite anything, for one.
  // What it makes zero of a range that it was told to discard is its affair.
  absl::Status TakeIn(const std::vector<QemuStep>& steps, const std::string& output) {
    const std::vector<bool> are_done = OutcomesIn(output);
    if (are_done.size() != steps.size() ||
        std::count(are_done.begin(), are_done.end(), true) == 0) {
      return absl::InternalError(StrCat("QEMU did not do its turn: ", output));
    }
    std::vector<bool> may_be_zero(model_.size(), false);
    for (size_t i = 0; i < steps.size(); ++i) {
      if (!are_done[i]) continue;
      const auto first = static_cast<ptrdiff_t>(steps[i].offset);
      const auto bytes = static_cast<ptrdiff_t>(steps[i].bytes);
      std::fill_n(may_be_zero.begin() + first, bytes, steps[i].is_discard);
      if (!steps[i].is_discard) std::fill_n(model_.begin() + first, bytes, steps[i].value);
    }
    MILLRACE_ASSIGN_OR_RETURN(const std::vector<uint8_t> content, QemuContent(folder_, kImage));
    for (size_t i = 0; i < std::min(model_.size(), content.size()); ++i) {
      if (may_be_zero[i] && content[i] == 0) model_[i] = 0;
    }
    return Same(content, model_, "what QEMU shows after its own turn");
  }
  QemuStep RandomQemuStep() {
    // Sectors, or whole subclusters or clusters.
    const uint64_t cluster = options_.cluster_bytes;
    const uint64_t unit = random_.OneIn(2)       ? 512
                          : random_.OneIn(2)     ? cluster
                          : options_.extended_l2 ? cluster / 32
                                                 : 512;
    uint64_t offset = AlignDown(random_.Below(model_.size()), unit);
    const uint64_t count = 1 + random_.Below(unit == 512 ? 40 : 3);
    uint64_t bytes = std::min(count * unit, model_.size() - offset);
    const auto pattern = static_cast<uint8_t>(1 + random_.Below(255));
    // QEMU 7.2 marks its own images corrupt when it writes compressed data into clusters of 512
    // bytes ("overlaps with active L2 table"): such a turn would tell nothing about us.
    const bool may_compress = options_.cluster_bytes > 512;
    switch (random_.Below(6)) {
      case 0:
        return {StrCat("write -z ", random_.OneIn(2) ? "-u " : "", offset, " ", bytes), offset,
                bytes};
      case 1:
        return {StrCat("discard ", offset, " ", bytes), offset, bytes, 0, true};
      case 2:
        if (!may_compress) break;
        offset = AlignDown(offset, cluster);
        bytes = std::min(cluster, model_.size() - offset);
        return {StrCat("write -c -P ", pattern, " ", offset, " ", bytes), offset, bytes, pattern};
      default:
        break;
    }
    return {StrCat("write -P ", pattern, " ", offset, " ", bytes), offset, bytes, pattern};
  }

  // ---- Oracles ----------------------------------------------------------------------------------
  absl::Status Compare() {
    const std::string image = folder_.File(kImage);
    ++counts_.qemu_checks;
    MILLRACE_RETURN_IF_ERROR(QemuCheck(image));
    MILLRACE_ASSIGN_OR_RETURN(const std::vector<uint8_t> content, QemuContent(folder_, kImage));
    MILLRACE_RETURN_IF_ERROR(Same(content, model_, "QEMU's view"));
    for (const auto& [name, then] : snapshots_) {
      MILLRACE_ASSIGN_OR_RETURN(const std::vector<uint8_t> now, QemuContent(folder_, kImage, name));
      MILLRACE_RETURN_IF_ERROR(Same(now, then, StrCat("snapshot ", name)));
    }
    CrashDisk disk(ReadFile(folder_.File(kImage)));
    const absl::StatusOr<Qcow2CheckResult> check = CheckImage(disk);
    if (!check.ok() || !check->is_clean()) {
      return absl::InternalError(StrCat("our check: ", millrace::Describe(check)));
    }
    return CompareMaps(disk, image);
  }
  static absl::Status Same(const std::vector<uint8_t>& a, const std::vector<uint8_t>& b,
                           std::string_view what) {
    if (a == b) return absl::OkStatus();
    const uint64_t common = std::min(a.size(), b.size());
    const auto where =
        std::mismatch(a.begin(), a.begin() + static_cast<ptrdiff_t>(common), b.begin());
    return absl::InternalError(StrCat(what, " differs at byte ", where.first - a.begin(),
                                      " (sizes ", a.size(), " and ", b.size(), ")"));
  }
  absl::Status CompareMaps(CrashDisk& disk, const std::string& image) {
    MILLRACE_ASSIGN_OR_RETURN(const std::vector<QemuExtent> theirs, QemuMap(image));
    auto engine = SimulatedEngine();
    FakeDriverContext context(*engine, disk);
    context.set_read_only(true);
    FormatNode node(context, MakeQcow2Driver(), backing_);
    return engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      absl::Status result = node.CoOpen();
      uint64_t covered = 0;
      for (const QemuExtent& extent : theirs) {
        if (result.ok() && extent.start == covered) {
          result = CoCompareExtent(node.driver(), extent);
          covered += extent.bytes;
        }
      }
      node.CoClose();
      if (result.ok() && covered != model_.size()) {
        result = absl::InternalError(StrCat("QEMU's map has a hole at ", covered));
      }
      return result;
    });
  }
  static absl::Status CoCompareExtent(FormatDriver& driver, const QemuExtent& theirs)
      MILLRACE_MAY_SUSPEND {
    for (uint64_t done = 0; done < theirs.bytes;) {
      MILLRACE_ASSIGN_OR_RETURN(const Extent ours,
                                driver.CoMap(ByteRange(theirs.start + done, theirs.bytes - done)));
      const bool is_ours = theirs.depth == 0 && theirs.is_present;
      const bool has_data = is_ours && theirs.is_data;
      const bool same =
          has_data == (ours.kind == ExtentKind::kData || ours.kind == ExtentKind::kEncoded) &&
          is_ours == ours.is_allocated() &&
          (is_ours && !has_data) == (ours.kind == ExtentKind::kZero) &&
          (ours.kind != ExtentKind::kData ||
           (theirs.has_offset && ours.host.value() == theirs.offset + done));
      if (!same) {
        return absl::InternalError(
            StrCat("the maps differ at ", theirs.start + done, ": our kind ",
                   static_cast<int>(ours.kind), " at ", ours.host.value(), ", QEMU's depth ",
                   theirs.depth, theirs.is_present ? " present" : "", theirs.is_data ? " data" : "",
                   " at ", theirs.offset + done));
      }
      done += ours.bytes;
    }
    return absl::OkStatus();
  }

  RandomStream random_;
  InteropCounts& counts_;
  Qcow2CreateOptions options_;
  const bool has_guest_;  // our turns are a guest's, in a graph
  bool has_backing_ = false;
  TemporaryFolder folder_;
  std::vector<uint8_t> backing_;
  std::vector<uint8_t> model_;
  std::vector<std::pair<std::string, std::vector<uint8_t>>> snapshots_;
  int bitmaps_ = 0;
};

}  // namespace

absl::Status RunQcow2Interop(uint64_t seed, InteropCounts& counts) {
  RoundTrip trip(seed, counts);
  const absl::Status status = trip.Run();
  if (status.ok()) return status;
  return absl::InternalError(
      StrCat("seed ", seed, " (", trip.Describe(), "): ", FromAbsl(status.message())));
}

}  // namespace millrace
