#include "examples/hypervisor/block/block_statistics.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "examples/hypervisor/block/block_layer.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/backing_chain.h"
#include "millrace/graph/graph_view.h"

namespace millrace {
namespace {

constexpr std::string_view kNames[] = {"rd", "wr", "flush", "unmap"};

// Of a node only the highest offset is counted.
json::object StatisticsOfNode(const NodeView& node) {
  DriveStatistics none;
  none.accounts_invalid = none.accounts_failed = false;
  json::object stats = none.Describe(0);
  stats["wr_highest_offset"] = node.highest_write_end();
  return stats;
}

// A node alone, without what is below it.
json::object DescribeAlone(const NodeView& node) {
  json::object shown = {{"node-name", node.name()}, {"stats", StatisticsOfNode(node)}};
  if (node.driver_name() == "file") {
    const DiscardCounts discards = node.discard_counts();
    shown["driver-specific"] = {{"driver", "file"},
                                {"discard-nb-ok", discards.succeeded},
                                {"discard-nb-failed", discards.failed},
                                {"discard-bytes-ok", discards.bytes}};
  }
  return shown;
}

// The one that holds the node's data, or shows what the node does.
std::optional<NodeView> DataChild(const NodeView& node) {
  return node.Child(node.is_filter() ? Role::kFiltered : Role::kPrimary);
}

// Formats on formats, each in the file of the one above: as deep as they are told. A client could
// not read much more, and they are described by recursion.
constexpr int kFormatsMax = 200;

json::object DescribeNode(const NodeView& node, int depth = 0) {
  json::object shown = DescribeAlone(node);
  const std::optional<NodeView> below = DataChild(node);
  if (below && depth < kFormatsMax) shown["parent"] = DescribeNode(*below, depth + 1);
  return shown;
}

// As a drive shows them: without implicit filters, and with "backing" for whatever shows through.
// What is below a filter so stands there twice, as QEMU has it; where many filters stand on each
// other, only the first ones are told twice.
class DriveChain {
 public:
  // From the bottom up, so that no stack limits the chain.
  json::object Describe(const NodeView& top, int depth = 0) {
    std::vector<NodeView> layers;
    for (std::optional<NodeView> node = SkipImplicitFilters(top); node;) {
      layers.push_back(*node);
      const std::optional<NodeView> below = node->FilteredOrBacking();
      node.reset();
      if (below) node.emplace(SkipImplicitFilters(*below));
    }
    json::object shown;
    for (size_t i = layers.size(); i-- > 0;) {
      json::object layer = DescribeAlone(layers[i]);
      ++told_;
      const bool has_below = i + 1 < layers.size();
      if (has_below && layers[i].is_filter()) {
        layer["parent"] = told_ <= kToldMax ? shown : DescribeAlone(layers[i + 1]);
        told_ *= 2;
      } else if (const std::optional<NodeView> file = DataChild(layers[i])) {
        layer["parent"] = depth < kFormatsMax ? Describe(*file, depth + 1) : DescribeAlone(*file);
      }
      if (has_below) layer["backing"] = std::move(shown);
      shown = std::move(layer);
    }
    return shown;
  }

 private:
  static constexpr size_t kToldMax = 1024;
  size_t told_ = 0;  // about how many nodes have been described, each as often as it stands there
};

json::object StatisticsOfDrive(const GraphReader& view, const Drive& drive, Nanoseconds now) {
  json::object shown;
  json::object stats = drive.statistics.Describe(now);
  if (drive.backend.is_attached()) {
    if (const absl::StatusOr<NodeView> top = view.Resolve(drive.backend.node()); top.ok()) {
      shown = DriveChain().Describe(*top);
      stats["wr_highest_offset"] = shown.at("stats").at("wr_highest_offset");
    }
  }
  shown["stats"] = std::move(stats);
  shown["device"] = drive.id;
  if (drive.device != nullptr) shown["qdev"] = drive.device->shown_name();
  return shown;
}

CommandResult QueryBlockStats(BlockLayer& layer, bool of_nodes) MILLRACE_OPENS_VIEW {
  GraphView view(layer.graph());
  json::array shown;
  if (of_nodes) {
    for (NodeId id : view.Nodes()) {
      absl::StatusOr<NodeView> node = view.Resolve(id);
      if (node.ok()) shown.push_back(DescribeNode(*node));
    }
    return shown;
  }
  for (const std::unique_ptr<Drive>& drive : layer.drives()) {
    if (drive->id.empty() && drive->device == nullptr) continue;
    shown.push_back(StatisticsOfDrive(view, *drive, layer.host().engine.clock().Now()));
  }
  return shown;
}

// ---- block-latency-histogram-set ---------------------------------------------------------------

struct HistogramArgument {
  std::string_view name;
  std::string_view of;
  CountedIo io;
};

constexpr HistogramArgument kHistograms[] = {{"boundaries-read", "read", CountedIo::kRead},
                                             {"boundaries-write", "write", CountedIo::kWrite},
                                             {"boundaries-flush", "flush", CountedIo::kFlush}};

std::vector<uint64_t> ReadBoundaries(ArgumentReader& reader, std::string_view name,
                                     const json::array& list) {
  std::vector<uint64_t> boundaries;
  for (size_t i = 0; i < list.size(); ++i) {
    const json::object one = {{"boundary", list[i]}};
    ArgumentReader element = reader.Nested(StrCat(name, "[", i, "]"), one);
    boundaries.push_back(element.OptionalSize("boundary").value_or(0));
  }
  return boundaries;
}

struct HistogramRequest {
  Drive* drive = nullptr;
  std::vector<std::pair<CountedIo, std::vector<uint64_t>>> histograms;
  absl::Status refusal;  // of one; those before it are set nevertheless, as in QEMU
};

absl::StatusOr<HistogramRequest> ReadHistograms(BlockLayer& layer, const json::object& arguments) {
  ArgumentReader reader(arguments);
  HistogramRequest request;
  const std::string id = reader.String("id");
  const json::array* const all = reader.OptionalArray("boundaries");
  const json::array* own[std::size(kHistograms)];
  bool has_any = all != nullptr;
  for (size_t i = 0; i < std::size(kHistograms); ++i) {
    own[i] = reader.OptionalArray(kHistograms[i].name);
    has_any = has_any || own[i] != nullptr;
  }
  MILLRACE_ASSIGN_OR_RETURN(request.drive, layer.FindBackendOfDevice(id));
  for (size_t i = 0; i < std::size(kHistograms); ++i) {
    const json::array* const list = own[i] != nullptr ? own[i] : all;
    if (list == nullptr && has_any) continue;
    std::vector<uint64_t> boundaries;
    if (list != nullptr) boundaries = ReadBoundaries(reader, kHistograms[i].name, *list);
    request.refusal = reader.Finish();
    if (request.refusal.ok() && !DriveStatistics::CheckBoundaries(boundaries).ok()) {
      request.refusal =
          GenericError(StrCat("Device '", id, "' set ", kHistograms[i].of, " boundaries fail"));
    }
    if (!request.refusal.ok()) break;
    request.histograms.emplace_back(kHistograms[i].io, std::move(boundaries));
  }
  return request;
}

CommandResult SetHistograms(BlockLayer& layer, const json::object& arguments) {
  MILLRACE_ASSIGN_OR_RETURN(HistogramRequest request, ReadHistograms(layer, arguments));
  for (auto& [io, boundaries] : request.histograms) {
    MILLRACE_RETURN_IF_ERROR(request.drive->statistics.SetHistogram(io, std::move(boundaries)));
  }
  MILLRACE_RETURN_IF_ERROR(request.refusal);
  return json::object();
}

PlanResult PlanHistograms(BlockLayer& layer, const json::object& arguments) {
  MILLRACE_ASSIGN_OR_RETURN(const HistogramRequest request, ReadHistograms(layer, arguments));
  MILLRACE_RETURN_IF_ERROR(request.refusal);
  return PlanOfStep("begin new latency histograms of the device, or end them");
}

}  // namespace

void LatencyBins::Count(Nanoseconds took) {
  if (bins.empty()) return;
  const auto above = std::upper_bound(boundaries.begin(), boundaries.end(),
                                      static_cast<uint64_t>(std::max<Nanoseconds>(took, 0)));
  ++bins[static_cast<size_t>(above - boundaries.begin())];
}

absl::Status DriveStatistics::CheckBoundaries(const std::vector<uint64_t>& boundaries) {
  uint64_t previous = 0;
  for (const uint64_t boundary : boundaries) {
    if (boundary <= previous) return absl::InvalidArgumentError("boundaries must ascend");
    previous = boundary;
  }
  return absl::OkStatus();
}

absl::Status DriveStatistics::SetHistogram(CountedIo io, std::vector<uint64_t> boundaries) {
  MILLRACE_RETURN_IF_ERROR(CheckBoundaries(boundaries));
  LatencyBins& histogram = Of(io).histogram;
  histogram.bins.assign(boundaries.empty() ? 0 : boundaries.size() + 1, 0);
  histogram.boundaries = std::move(boundaries);
  return absl::OkStatus();
}

void DriveStatistics::CountDone(CountedIo io, uint64_t bytes, Nanoseconds took, Nanoseconds now) {
  Counters& counters = Of(io);
  counters.bytes += bytes;
  ++counters.operations;
  counters.total += took;
  counters.histogram.Count(took);
  CountTime(io, took, now);
  last_access_ = now;
}

void DriveStatistics::CountTime(CountedIo io, Nanoseconds took, Nanoseconds now) {
  if (io == CountedIo::kUnmap) return;
  for (TimedStatistics& interval : intervals_) interval.Count(static_cast<size_t>(io), took, now);
}

void DriveStatistics::CountFailed(CountedIo io, Nanoseconds took, Nanoseconds now) {
  Counters& counters = Of(io);
  counters.histogram.Count(took);
  ++counters.failed;
  if (!accounts_failed) return;
  CountTime(io, took, now);
  counters.total += took;
  last_access_ = now;
}

void DriveStatistics::CountInvalid(CountedIo io, Nanoseconds now) {
  ++Of(io).invalid;
  if (accounts_invalid) last_access_ = now;
}

json::object DriveStatistics::Describe(Nanoseconds now) const {
  json::array timed;
  for (TimedStatistics& interval : intervals_) timed.push_back(interval.Describe(now));
  json::object stats = {{"account_invalid", accounts_invalid},
                        {"account_failed", accounts_failed},
                        {"wr_highest_offset", 0}};
  for (size_t i = 0; i < counters_.size(); ++i) {
    const Counters& counters = counters_[i];
    const std::string name(kNames[i]);
    if (name != "flush") {
      stats[name + "_bytes"] = counters.bytes;
      stats[name + "_merged"] = 0;
    }
    stats[name + "_operations"] = counters.operations;
    stats[name + "_total_time_ns"] = counters.total;
    stats["failed_" + name + "_operations"] = counters.failed;
    stats["invalid_" + name + "_operations"] = counters.invalid;
    if (!counters.histogram.bins.empty()) {
      stats[name + "_latency_histogram"] = {
          {"boundaries", json::value_from(counters.histogram.boundaries)},
          {"bins", json::value_from(counters.histogram.bins)}};
    }
  }
  stats["timed_stats"] = std::move(timed);
  if (last_access_ > 0) stats["idle_time_ns"] = now - last_access_;
  return stats;
}

void RegisterBlockStatistics(BlockLayer& layer) {
  layer.host().commands.Register(
      {.name = "query-blockstats",
       .arguments = {{{"query-nodes", ArgumentType::kBool, true}}},
       .handler = [&layer](const json::object& arguments) MILLRACE_MAY_SUSPEND {
         ArgumentReader reader(arguments);
         return QueryBlockStats(layer, reader.OptionalBool("query-nodes").value_or(false));
       }});
  std::vector<ArgumentSpec> arguments = {{"id"}, {"boundaries", ArgumentType::kArray, true}};
  for (const HistogramArgument& each : kHistograms) {
    arguments.push_back({std::string(each.name), ArgumentType::kArray, true});
  }
  layer.host().commands.Register(
      {.name = "block-latency-histogram-set",
       .arguments = std::move(arguments),
       .handler = [&layer](const json::object& given) { return SetHistograms(layer, given); }});
  layer.host().commands.SetPlanner(
      "block-latency-histogram-set",
      [&layer](const json::object& given) { return PlanHistograms(layer, given); });
}

}  // namespace millrace
