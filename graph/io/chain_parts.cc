#include "millrace/graph/io/chain_parts.h"

#include <algorithm>
#include <utility>

#include "absl/container/inlined_vector.h"
#include "millrace/engine/base/check.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/graph/io/node_drivers.h"
#include "millrace/graph/io/node_io.h"
#include "millrace/graph/io/parts_reader.h"
#include "millrace/graph/io/protocol_io.h"

namespace millrace {

// ---- What is known of a chain ------------------------------------------------------------------

template <typename Visit>
void ChainRevisions::Walk(Node& start, const Node* last, Visit visit) {
  constexpr uint64_t kFactor = 0x9e3779b97f4a7c15u;
  Node* node = &start;
  while (node != nullptr && node != last && node->is_filter()) node = NodeBelow(*node);
  if (node == nullptr || node == last) return;
  node = NodeBelow(*node);
  uint64_t revision = 1;
  for (; node != nullptr; node = NodeBelow(*node)) {
    if (node->is_filter() && !AsFilter(*node).is_transparent_for_reads()) return;
    if (!node->is_filter() && visit(*node, revision)) return;
    if (node == last) return;
    revision = (revision ^ node->id.slot) * kFactor;
    revision = (revision ^ node->id.generation) * kFactor;
    revision = ((revision ^ node->mapping_revision) * kFactor) | 1;
  }
}

ChainRevisions::ChainRevisions(Node& start, const Node* last) {
  Walk(start, last, [this](Node& layer, uint64_t revision) {
    layers_.push_back({&layer, revision});
    return false;
  });
  std::sort(layers_.begin(), layers_.end(),
            [](const Layer& a, const Layer& b) { return a.node->id < b.node->id; });
}

Node* ChainRevisions::FindIn(Node& start, NodeId id, uint64_t wanted) {
  Node* found = nullptr;
  if (wanted == 0) return found;
  Walk(start, nullptr, [&](Node& layer, uint64_t revision) {
    if (layer.id != id) return false;
    if (revision == wanted) found = &layer;
    return true;
  });
  return found;
}

std::vector<Node*> ChainRevisions::FindAll(Node& start, absl::Span<const ChainPart> parts) {
  // Parts of a batch name few layers, most of them the same again and again.
  struct Named {
    NodeId id;
    Layer layer;  // as the walk has met it
  };
  absl::InlinedVector<Named, 8> all;
  const auto find = [&](NodeId id) {
    return std::find_if(all.begin(), all.end(), [&](const Named& each) { return each.id == id; });
  };
  const auto is_known = [](const ChainPart& part) {
    return part.layer.is_valid() && part.revision != 0;
  };
  for (const ChainPart& part : parts) {
    if (is_known(part) && find(part.layer) == all.end()) all.push_back({part.layer, {}});
  }
  size_t missing = all.size();
  if (missing > 0) {
    Walk(start, nullptr, [&](Node& layer, uint64_t revision) {
      const auto named = find(layer.id);
      if (named == all.end()) return false;
      named->layer = {&layer, revision};
      return --missing == 0;
    });
  }
  std::vector<Node*> found;
  found.reserve(parts.size());
  for (const ChainPart& part : parts) {
    const auto named = is_known(part) ? find(part.layer) : all.end();
    const bool holds = named != all.end() && named->layer.revision == part.revision;
    found.push_back(holds ? named->layer.node : nullptr);
  }
  return found;
}

uint64_t ChainRevisions::Of(NodeId id) const {
  const auto found = std::lower_bound(
      layers_.begin(), layers_.end(), id,
      [](const Layer& layer, const NodeId& wanted) { return layer.node->id < wanted; });
  return found != layers_.end() && found->node->id == id ? found->revision : 0;
}

PathTraits PathTraitsBelow(Node& top, const Node* last) {
  PathTraits traits;
  for (Node* node = &top; node != nullptr; node = NodeBelow(*node)) {
    if (node->is_filter()) {
      const FilterDriver& filter = AsFilter(*node);
      traits.wants_events |= filter.wants_events();
      // What the caller itself is attached to acts on its behalf.
      traits.is_plain &= node == &top || filter.is_transparent_for_reads();
    } else if (!IsProtocol(*node)) {
      const Edge* const primary = node->FindChild(Role::kPrimary);
      traits.is_plain &= PlainPrimary(*node) != nullptr;
      for (const Node* file = primary == nullptr ? nullptr : primary->child;
           file != nullptr && file->is_filter(); file = NodeBelow(*file)) {
        traits.wants_events |= AsFilter(*file).wants_events();
      }
    }
    if (node == last) break;
  }
  return traits;
}

namespace {

// The part of a chain that nobody asked so far has, and what those that were asked have.
class AllocationSurvey {
 public:
  static constexpr size_t kQuestionsMax = 8;

  explicit AllocationSurvey(ByteRange range) : gaps_({range}) {}

  bool is_complete() const { return gaps_.empty(); }
  // From the first gap to the last; there is one.
  ByteRange open_range() const {
    return ByteRange(gaps_.front().offset, gaps_.back().end() - gaps_.front().offset);
  }
  // Asks one layer about what is left; `is_top` as in CoAllocationInChain.
  absl::Status CoAsk(Node& layer, bool is_top) MILLRACE_MAY_SUSPEND;
  // Everything, in order; what nobody has is unallocated.
  std::vector<std::pair<ByteRange, AllocationRun>> Finish();

 private:
  void Found(ByteRange range, NodeId layer, bool is_allocated, bool is_zero);
  // What lies beyond the end of a layer is no gap any more.
  void CutAt(uint64_t layer_bytes, NodeId layer, bool is_top);
  // What one layer has, ascending.
  struct Answer {
    ByteRange range;
    bool is_zero;
  };
  void Take(NodeId layer, absl::Span<const Answer> answers);

  std::vector<std::pair<ByteRange, AllocationRun>> found_;
  std::vector<ByteRange> gaps_;  // ascending
};

void AllocationSurvey::Found(ByteRange range, NodeId layer, bool is_allocated, bool is_zero) {
  AllocationRun run;
  run.bytes = range.bytes;
  run.is_allocated = is_allocated;
  run.is_zero = is_zero;
  run.layer = layer;
  found_.emplace_back(range, run);
}

absl::Status AllocationSurvey::CoAsk(Node& layer, bool is_top) {
  CutAt(layer.driver->bytes(), layer.id, is_top);
  if (gaps_.empty()) return absl::OkStatus();
  // Many small gaps: the layer tells its whole story once, rather than bit by bit.
  const std::vector<ByteRange> questions =
      gaps_.size() <= kQuestionsMax ? gaps_ : std::vector<ByteRange>{open_range()};
  std::vector<Answer> answers;
  for (const ByteRange& question : questions) {
    for (uint64_t at = question.offset; at < question.end();) {
      MILLRACE_ASSIGN_OR_RETURN(const Extent extent,
                                CoMapNode(layer, ByteRange(at, question.end() - at)));
      if (extent.is_allocated()) {
        answers.push_back({ByteRange(at, extent.bytes), extent.kind == ExtentKind::kZero});
      }
      at += extent.bytes;
    }
  }
  Take(layer.id, answers);
  return absl::OkStatus();
}

// A layer shorter than the one above reads as zeroes beyond its end.
void AllocationSurvey::CutAt(uint64_t layer_bytes, NodeId layer, bool is_top) {
  while (!gaps_.empty() && gaps_.back().end() > layer_bytes) {
    ByteRange& last = gaps_.back();
    const uint64_t from = std::max(last.offset, layer_bytes);
    Found(ByteRange(from, last.end() - from), layer, !is_top, true);
    last.bytes = from - last.offset;
    if (last.empty()) gaps_.pop_back();
  }
}

// Goes once over the gaps from the first answer to the last, and puts what is left of them in their
// place: most layers of a long chain have little, but one may have a part of every gap.
void AllocationSurvey::Take(NodeId layer, absl::Span<const Answer> answers) {
  if (answers.empty()) return;
  const auto first =
      std::lower_bound(gaps_.begin(), gaps_.end(), answers.front().range.offset,
                       [](const ByteRange& gap, uint64_t offset) { return gap.end() <= offset; });
  auto gap = first;
  std::vector<ByteRange> left;
  for (const Answer& answer : answers) {
    for (; gap != gaps_.end() && gap->end() <= answer.range.offset; ++gap) left.push_back(*gap);
    for (; gap != gaps_.end() && gap->offset < answer.range.end(); ++gap) {
      const ByteRange part = answer.range.Intersect(*gap);
      Found(part, layer, true, answer.is_zero);
      if (gap->offset < part.offset) {
        left.emplace_back(gap->offset, part.offset - gap->offset);
      }
      if (part.end() < gap->end()) {
        *gap = ByteRange(part.end(), gap->end() - part.end());
        break;  // the next answer may have some of the rest
      }
    }
  }
  gaps_.insert(gaps_.erase(first, gap), left.begin(), left.end());
}

std::vector<std::pair<ByteRange, AllocationRun>> AllocationSurvey::Finish() {
  for (const ByteRange& gap : gaps_) Found(gap, NodeId(), false, false);
  gaps_.clear();
  std::sort(found_.begin(), found_.end(),
            [](const auto& a, const auto& b) { return a.first.offset < b.first.offset; });
  return std::move(found_);
}

}  // namespace

namespace {

// Whose tables are fetched side by side.
constexpr size_t kLayersTogether = 16;
// A chain shorter than this is asked layer by layer: it needs few tables.
constexpr size_t kLayersMany = 8;
// A slice of a qcow2 table tells of that much with clusters of 16 KiB, and of more with larger
// ones.
constexpr uint64_t kFetchStep = uint64_t{8} << 20;

// Makes the tables of a long chain's layers ready before they are asked one after the other: what
// each has to fetch would add up. What they say is asked for again afterwards: it may have changed.
class TableFetcher {
 public:
  // Layers from `first` (null: `top`) down to `last` (null: the bottom).
  TableFetcher(Node& top, const Node* first, const Node* last);

  // Before `layer` is asked about what lies in `range`.
  void CoFetchBefore(const Node& layer, ByteRange range) MILLRACE_MAY_SUSPEND;

 private:
  static void CoFetch(Node& layer, ByteRange range) MILLRACE_MAY_SUSPEND;

  std::vector<Node*> layers_;
  size_t fetched_ = 0;
};

TableFetcher::TableFetcher(Node& top, const Node* first, const Node* last) {
  bool is_inside = first == nullptr;
  for (Node* node = &top; node != nullptr; node = NodeBelow(*node)) {
    is_inside = is_inside || node == first;
    if (is_inside && node->driver->kind() == NodeKind::kFormat) layers_.push_back(node);
    if (node == last) break;
  }
  if (layers_.size() < kLayersMany) layers_.clear();
}

void TableFetcher::CoFetch(Node& layer, ByteRange range) {
  const uint64_t end = std::min(range.end(), layer.driver->bytes());
  for (uint64_t at = range.offset; at < end; at += kFetchStep) {
    if (!CoMapNode(layer, ByteRange(at, 1)).ok()) return;  // the question itself will tell
  }
}

void TableFetcher::CoFetchBefore(const Node& layer, ByteRange range) {
  if (fetched_ == layers_.size() || layers_[fetched_] != &layer) return;
  const size_t end = std::min(fetched_ + kLayersTogether, layers_.size());
  TaskScope scope("fetch tables");
  for (; fetched_ < end; ++fetched_) {
    Node* const each = layers_[fetched_];
    scope.Spawn("fetch tables", [each, range]() MILLRACE_MAY_SUSPEND { CoFetch(*each, range); });
  }
  // Fails only for want of a stack; then the table is fetched when it is asked for.
  scope.CoJoin().IgnoreError();
}

}  // namespace

absl::Status CoAllocationsInChain(Node& top, ByteRange range, const Node* first, const Node* last,
                                  std::vector<AllocationRun>* runs) {
  const InFlightRequest request(top);  // keeps every link below it in place
  AllocationSurvey survey(range);
  const ChainRevisions before(top, last);
  TableFetcher fetcher(top, first, last);
  bool is_inside = first == nullptr;
  for (Node* node = &top; node != nullptr && !survey.is_complete(); node = NodeBelow(*node)) {
    is_inside = is_inside || node == first;
    if (is_inside && !node->is_filter()) {
      fetcher.CoFetchBefore(*node, survey.open_range());
      MILLRACE_RETURN_IF_ERROR(survey.CoAsk(*node, node == &top));
    }
    if (node == last) break;
    if (NodeBelow(*node) == nullptr && (last != nullptr || !is_inside)) {
      return absl::NotFoundError(StrCat("the chain below '", top.name, "' does not contain '",
                                        last != nullptr ? last->name : first->name, "'"));
    }
  }
  const ChainRevisions after(top, last);
  for (auto& [part, run] : survey.Finish()) {
    // What has changed while others were asked is not known.
    const uint64_t revision = after.Of(run.layer);
    run.revision = revision == before.Of(run.layer) ? revision : 0;
    AllocationRun* const previous = runs->empty() ? nullptr : &runs->back();
    if (previous != nullptr && previous->layer == run.layer &&
        previous->is_allocated == run.is_allocated && previous->is_zero == run.is_zero) {
      previous->bytes += run.bytes;
    } else {
      runs->push_back(run);
    }
  }
  return absl::OkStatus();
}

// ---- Reading -----------------------------------------------------------------------------------

namespace {

absl::Status CoReadOneByOne(Node& node, absl::Span<const ChainPart> parts, const IoVector& memory)
    MILLRACE_MAY_SUSPEND {
  uint64_t done = 0;
  for (const ChainPart& part : parts) {
    MILLRACE_RETURN_IF_ERROR(
        CoReadNode(node, part.range.offset, memory.Slice(done, part.range.bytes)));
    done += part.range.bytes;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CoReadNodeParts(Node& node, absl::Span<const ChainPart> parts,
                             const IoVector& memory) {
  if (parts.empty()) return absl::OkStatus();
  const InFlightRequest request(node);
  if (node.is_filter()) {
    Node* const child = NodeBelow(node);
    if (child == nullptr || !AsFilter(node).is_transparent_for_reads()) {
      return CoReadOneByOne(node, parts, memory);
    }
    return CoReadNodeParts(*child, parts, memory);
  }
  PartsReader reader(PartsReader::Purpose::kRead);
  MILLRACE_RETURN_IF_ERROR(reader.CoCollectParts(node, parts, memory));
  return reader.CoRead();
}

absl::Status CoPrefetchNode(Node& node, absl::Span<const ChainPart> parts) {
  if (parts.empty() || !node.is_filter()) return absl::OkStatus();
  const InFlightRequest request(node);
  return AsFilter(node).CoPrefetch(parts);
}

// ---- Writing -----------------------------------------------------------------------------------

namespace {

// The places of an allocation with the memory that belongs there; neighbours become one.
std::vector<IoPart> PartsOf(const BatchAllocation& batch, absl::Span<const ByteRange> ranges,
                            const IoVector& memory) {
  std::vector<IoPart> parts;
  const ByteRange* range = ranges.begin();
  uint64_t done = 0;  // bytes of memory before `range`
  for (const BatchAllocation::Place& place : batch.places()) {
    while (range->end() <= place.range.offset) done += (range++)->bytes;
    parts.push_back({place.host.value(),
                     memory.Slice(done + place.range.offset - range->offset, place.range.bytes)});
  }
  return InFileOrder(std::move(parts));
}

// Null where the format, or somebody at its file, wants ordinary writes.
Node* BatchFile(const Node& node) {
  Node* const primary = PlainPrimary(node);
  const bool is_plain = primary != nullptr && primary->io.detect_zeroes == DetectZeroes::kOff;
  return is_plain ? primary : nullptr;
}

// Ends a batch whose data have been written.
absl::Status CoFinishBatch(Node& node, Node& file, BatchAllocation& batch,
                           absl::Span<const ByteRange> written) MILLRACE_MAY_SUSPEND {
  const absl::Status status = AsFormat(node).CoLinkBatch(batch);
  ++node.mapping_revision;
  // Jobs write in batches, and flush at their end: by then most of it is on the device.
  if (status.ok() && !file.io.ignores_flushes) AsProtocol(file).CoStartWriteback(written);
  return status;
}

absl::Status CoWriteBatch(Node& node, Node& file, BatchAllocation& batch,
                          absl::Span<const ByteRange> ranges, const IoVector& memory)
    MILLRACE_MAY_SUSPEND {
  const InFlightRequest request(file);
  const std::vector<IoPart> parts = PartsOf(batch, ranges, memory);
  const absl::Status status = CoWriteProtocolParts(file, AsProtocol(file), parts);
  if (!status.ok()) {
    AsFormat(node).CoAbandonBatch(batch);
    return status;
  }
  std::vector<ByteRange> written;
  for (const IoPart& part : parts) written.emplace_back(part.offset, part.memory.bytes());
  return CoFinishBatch(node, file, batch, written);
}

absl::Status CoWriteOneByOne(Node& node, absl::Span<const ByteRange> ranges, const IoVector& memory,
                             WriteFlags flags) MILLRACE_MAY_SUSPEND {
  uint64_t done = 0;
  for (const ByteRange& range : ranges) {
    MILLRACE_RETURN_IF_ERROR(
        CoWriteNode(node, range.offset, memory.Slice(done, range.bytes), flags));
    done += range.bytes;
  }
  return absl::OkStatus();
}

absl::Status CoWritePartsOf(Node& node, absl::Span<const ByteRange> ranges, const IoVector& memory,
                            WriteFlags flags) MILLRACE_MAY_SUSPEND {
  if (node.is_filter() && AsFilter(node).is_transparent_for_writes() &&
      NodeBelow(node) != nullptr) {
    return CoWriteNodeParts(*NodeBelow(node), ranges, memory, flags);
  }
  Node* const file = node.driver->kind() == NodeKind::kFormat ? BatchFile(node) : nullptr;
  if (file == nullptr) return CoWriteOneByOne(node, ranges, memory, flags);
  MILLRACE_ASSIGN_OR_RETURN(const std::unique_ptr<BatchAllocation> batch,
                            AsFormat(node).CoAllocateBatch(ranges, flags));
  if (batch == nullptr) return CoWriteOneByOne(node, ranges, memory, flags);
  return CoWriteBatch(node, *file, *batch, ranges, memory);
}

}  // namespace

absl::Status CoWriteNodeParts(Node& node, absl::Span<const ByteRange> ranges,
                              const IoVector& memory, WriteFlags flags) {
  if (ranges.empty()) return absl::OkStatus();
  const InFlightRequest request(node);
  if (node.io.detect_zeroes != DetectZeroes::kOff || flags.force_unit_access) {
    return CoWriteOneByOne(node, ranges, memory, flags);
  }
  for (const ByteRange& range : ranges) node.NoteWrite(range.end());
  const absl::Status status = CoWritePartsOf(node, ranges, memory, flags);
  if (flags.only_if_unallocated) return status;  // what is visible has not changed
  for (const ByteRange& range : ranges) node.NoteChange(range);
  return status;
}

// ---- Sharing -----------------------------------------------------------------------------------

namespace {

// Where one piece of the memory that names the bytes lies in a file.
struct Piece {
  const char* begin = nullptr;
  uint64_t bytes = 0;
  Node* file = nullptr;
  uint64_t offset = 0;
};

void AppendPieces(Node* file, const IoPart& part, std::vector<Piece>* pieces) {
  uint64_t offset = part.offset;
  for (const iovec& each : part.memory.pieces()) {
    pieces->push_back({static_cast<const char*>(each.iov_base), each.iov_len, file, offset});
    offset += each.iov_len;
  }
}

// What goes from one file to the target's.
struct Shares {
  Node* source = nullptr;
  std::vector<FileShare> shares;
};

void AddShare(const Piece& source, uint64_t skip, uint64_t target_offset, uint64_t bytes,
              std::vector<Shares>* all) {
  auto found = std::find_if(all->begin(), all->end(),
                            [&](const Shares& each) { return each.source == source.file; });
  if (found == all->end()) found = all->insert(all->end(), Shares{source.file, {}});
  const FileShare share = {source.offset + skip, target_offset, bytes};
  FileShare* const last = found->shares.empty() ? nullptr : &found->shares.back();
  if (last != nullptr && last->source_offset + last->bytes == share.source_offset &&
      last->target_offset + last->bytes == share.target_offset) {
    last->bytes += share.bytes;
  } else {
    found->shares.push_back(share);
  }
}

// Brings together what has the same place in memory; both lists ascend there, and `sources` has all
// that `targets` has.
std::vector<Shares> Pair(std::vector<Piece> sources, std::vector<Piece> targets) {
  const auto before = [](const Piece& a, const Piece& b) { return a.begin < b.begin; };
  std::sort(sources.begin(), sources.end(), before);
  std::sort(targets.begin(), targets.end(), before);
  std::vector<Shares> all;
  auto source = sources.cbegin();
  for (const Piece& target : targets) {
    for (uint64_t done = 0; done < target.bytes;) {
      while (source->begin + source->bytes <= target.begin + done) ++source;
      const auto skip = static_cast<uint64_t>(target.begin + done - source->begin);
      const uint64_t bytes = std::min(source->bytes - skip, target.bytes - done);
      AddShare(*source, skip, target.offset + done, bytes, &all);
      done += bytes;
    }
  }
  return all;
}

// False if the host will not; then the batch is as good as never begun.
bool CoShareBatch(Node& file, const std::vector<Shares>& all, ShareBy by) MILLRACE_MAY_SUSPEND {
  for (const Shares& each : all) {
    if (!CoShareProtocol(file, AsProtocol(file), AsProtocol(*each.source), each.shares, by)) {
      return false;
    }
  }
  return true;
}

// The node whose tables say where in a file writes to `node` go; null if somebody must see them.
Node* BatchTarget(Node& node) {
  Node* target = &node;
  while (target != nullptr && target->is_filter()) {
    if (target->io.detect_zeroes != DetectZeroes::kOff) return nullptr;
    target = AsFilter(*target).is_transparent_for_writes() ? NodeBelow(*target) : nullptr;
  }
  const bool is_format = target != nullptr && target->driver->kind() == NodeKind::kFormat &&
                         target->io.detect_zeroes == DetectZeroes::kOff;
  return is_format ? target : nullptr;
}

// The topmost layer that reads of `node` reach; null if somebody must see them.
Node* ReadStart(Node& node) {
  Node* start = &node;
  while (start != nullptr && start->is_filter()) {
    start = AsFilter(*start).is_transparent_for_reads() ? NodeBelow(*start) : nullptr;
  }
  return start;
}

}  // namespace

bool CoTryShareNodeParts(Node& source, absl::Span<const ChainPart> parts, Node& target,
                         const IoVector& memory, ShareOptions options) {
  const InFlightRequest from(source);
  const InFlightRequest to(target);
  Node* const top = ReadStart(source);
  Node* const image = BatchTarget(target);
  Node* const file = image == nullptr ? nullptr : BatchFile(*image);
  if (parts.empty() || top == nullptr || file == nullptr) return false;
  // Before the source is asked where its bytes lie: whoever reads them asks that again.
  if (!AsProtocol(*file).io_file().is_valid() || !AsProtocol(*file).may_share(options.by))
    return false;
  PartsReader finder(PartsReader::Purpose::kFind);
  if (!finder.CoCollectParts(*top, parts, memory).ok() || !finder.is_plain()) return false;
  for (const PartsReader::File& each : finder.files()) {
    if (!AsProtocol(*file).CoMayShareWith(AsProtocol(*each.node), options.by)) return false;
  }
  std::vector<ByteRange> ranges;
  for (const ChainPart& part : parts) ranges.push_back(part.range);
  absl::StatusOr<std::unique_ptr<BatchAllocation>> batch = AsFormat(*image).CoAllocateBatch(
      ranges, {.only_if_unallocated = options.only_if_unallocated});
  if (!batch.ok() || *batch == nullptr) return false;
  for (Node* node = &target; node != NodeBelow(*image); node = NodeBelow(*node)) {
    node->NoteWrite(ranges.back().end());
  }
  const InFlightRequest request(*file);
  std::vector<Piece> sources;
  for (const PartsReader::File& each : finder.files()) {
    for (const IoPart& part : each.parts) AppendPieces(each.node, part, &sources);
  }
  std::vector<Piece> targets;
  std::vector<ByteRange> written;
  for (const IoPart& part : PartsOf(**batch, ranges, memory)) {
    AppendPieces(file, part, &targets);
    written.emplace_back(part.offset, part.memory.bytes());
  }
  const bool is_shared =
      CoShareBatch(*file, Pair(std::move(sources), std::move(targets)), options.by);
  if (!is_shared) AsFormat(*image).CoAbandonBatch(**batch);
  const bool is_done = is_shared && CoFinishBatch(*image, *file, **batch, written).ok();
  if (options.only_if_unallocated) return is_done;  // what is visible has not changed
  // Some of it may be there, where the image had its place already.
  for (Node* node = &target; node != NodeBelow(*image); node = NodeBelow(*node)) {
    for (const ByteRange& range : ranges) node->NoteChange(range);
  }
  return is_done;
}

}  // namespace millrace
