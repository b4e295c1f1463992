#include "millrace/graph/drain.h"

#include <algorithm>
#include <utility>

#include "millrace/engine/base/check.h"
#include "millrace/engine/base/mutant.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/observer.h"
#include "millrace/engine/scheduler/exploration_site.h"
#include "millrace/graph/attachment_core.h"
#include "millrace/graph/driver.h"
#include "millrace/graph/graph_internals.h"

namespace millrace {

// ---- SectionCore -------------------------------------------------------------------------------

bool SectionCore::IsOwner(const HolderRef& holder) const {
  return std::find(owners.begin(), owners.end(), holder) != owners.end();
}

// Sections without owners may overlap each other: nothing is done in them. One with an owner is
// exclusive: its owner may do I/O inside, and looks at a graph that nobody else edits.
bool SectionCore::Excludes(const SectionCore& other) const {
  if (this == &other || (owners.empty() && other.owners.empty())) return false;
  MILLRACE_MUTANT(kR07) return false;  // drained means only that nothing is in flight
  return std::none_of(owners.begin(), owners.end(), [&](const HolderRef& owner) {
    return std::find(other.owners.begin(), other.owners.end(), owner) != other.owners.end();
  });
}

namespace {

// Whether no element is busy; remembers in `hint` which one was.
template <typename Element, typename IsBusy>
bool NoneBusy(const std::vector<Element*>& elements, size_t* hint, const IsBusy& is_busy) {
  for (size_t i = 0; i < elements.size(); ++i) {
    const size_t at = (*hint + i) % elements.size();
    if (!is_busy(*elements[at])) continue;
    *hint = at;
    return false;
  }
  return true;
}

}  // namespace

// Whether its user may still take steps.
bool SectionCore::IsAwake(const AttachmentCore& attachment) {
  const Quiescable* quiescable = attachment.options.holder->quiescable;
  return quiescable != nullptr && !quiescable->is_quiet();
}

// Whether requests run through it, or somebody else has drained it.
bool SectionCore::IsTaken(const Node& node) const {
  return !node.requests.empty() ||
         std::any_of(node.sections.begin(), node.sections.end(), [&](const SectionCore* other) {
           return other->is_granted && Excludes(*other);
         });
}

bool SectionCore::IsAtRest() {
  MILLRACE_MUTANT(kR16) {  // the jobs have been asked to pause, and that is enough
    return NoneBusy(covered, &busy_node, [this](const Node& node) { return IsTaken(node); });
  }
  return NoneBusy(attachments, &busy_attachment, IsAwake) &&
         NoneBusy(covered, &busy_node, [this](const Node& node) { return IsTaken(node); });
}

std::string SectionCore::DescribeObstacle() const {
  for (const Node* node : covered) {
    for (const SectionCore* other : node->sections) {
      if (!other->is_granted || !Excludes(*other)) continue;
      return StrCat("a drained section of ",
                    other->owners.empty() ? "the embedder" : other->owners.front()->Describe());
    }
    if (!node->requests.empty()) {
      return StrCat(node->requests.size(), " requests in flight on node '", node->name, "'");
    }
  }
  for (const AttachmentCore* attachment : attachments) {
    if (IsAwake(*attachment)) return attachment->options.holder->Describe();
  }
  return {};
}

void SectionCore::DescribeWait(WaitDescription& description) const {
  std::string names;
  for (NodeId root : roots) {
    const Node* node = GraphInternals::Of(graph).Resolve(root);
    StrAppend(&names, names.empty() ? "" : ", ", node == nullptr ? root.ToString() : node->name);
  }
  description.object = StrCat("drain of '", names, "'");
  if (std::string obstacle = DescribeObstacle(); !obstacle.empty()) {
    description.holders.push_back(std::move(obstacle));
  }
}

void SectionCore::OnQuiet() {
  if (!is_granted) GraphInternals::Of(graph).sections.GrantWhatIsAtRest();
}

// ---- SectionTable ------------------------------------------------------------------------------

// What a section covers, computed afresh, and how that differs from before.
struct SectionTable::Cover {
  std::vector<Node*> nodes;
  std::vector<AttachmentCore*> attachments;
  std::vector<Node*> new_nodes;
  std::vector<AttachmentCore*> new_attachments;
  std::vector<Node*> old_nodes;
  std::vector<AttachmentCore*> old_attachments;
};

class SectionTable::Hold {
 public:
  explicit Hold(SectionTable& table) : table_(table) { ++table_.held_; }
  ~Hold() {
    if (--table_.held_ == 0) table_.GrantWhatIsAtRest();
  }
  Hold(const Hold&) = delete;
  Hold& operator=(const Hold&) = delete;

 private:
  SectionTable& table_;
};

namespace {

// One section starts to count on an attachment, or stops.
void CoverAttachment(SectionCore& section, AttachmentCore& attachment) {
  attachment.sections.push_back(&section);
  if (Quiescable* quiescable = attachment.options.holder->quiescable) {
    quiescable->AddQuietListener(&section);
  }
  attachment.BeginQuiesce();
}

void UncoverAttachment(SectionCore& section, AttachmentCore& attachment) {
  std::erase(attachment.sections, &section);
  if (Quiescable* quiescable = attachment.options.holder->quiescable) {
    quiescable->RemoveQuietListener(&section);
  }
  attachment.EndQuiesce();
}

// The same for a node. A filter that holds requests back lets them go while it is covered.
void CoverNode(SectionCore& section, Node& node) {
  internal::TouchHere("requests of", node.name, StepAccess::kWrite);
  node.sections.push_back(&section);
  if (node.driver->kind() == NodeKind::kFilter) {
    static_cast<FilterDriver&>(*node.driver).BeginDrain();
  }
}

void UncoverNode(SectionCore& section, Node& node) {
  internal::TouchHere("requests of", node.name, StepAccess::kWrite);
  std::erase(node.sections, &section);
  if (node.driver->kind() == NodeKind::kFilter) {
    static_cast<FilterDriver&>(*node.driver).EndDrain();
  }
}

// Adds an element to a new cover, once; marks tell which were in the old one.
template <typename Element>
void AddToCover(Element& element, uint64_t old_mark, uint64_t new_mark,
                std::vector<Element*>* elements, std::vector<Element*>* added) {
  if (element.cover_mark == new_mark) return;
  if (element.cover_mark != old_mark) added->push_back(&element);
  element.cover_mark = new_mark;
  elements->push_back(&element);
}

template <typename Element>
void CollectLeft(const std::vector<Element*>& before, uint64_t new_mark,
                 std::vector<Element*>* left) {
  for (Element* element : before) {
    if (element->cover_mark != new_mark) left->push_back(element);
  }
}

}  // namespace

void SectionTable::ComputeCover(SectionCore& section, Cover* cover) {
  const GraphInternals& internals = GraphInternals::Of(graph_);
  const uint64_t before = ++newest_mark_;
  const uint64_t now = ++newest_mark_;
  for (Node* node : section.covered) node->cover_mark = before;
  for (AttachmentCore* attachment : section.attachments) attachment->cover_mark = before;
  for (NodeId root : section.roots) {
    Node* node = internals.Resolve(root);
    if (node != nullptr) AddToCover(*node, before, now, &cover->nodes, &cover->new_nodes);
  }
  for (size_t i = 0; i < cover->nodes.size(); ++i) {
    Node* node = cover->nodes[i];
    graph_.engine().scheduler().Count(Counter::kNodesVisited);
    for (Edge* edge = node->parents.front(); edge != nullptr; edge = node->parents.After(*edge)) {
      if (edge->parent != nullptr) {
        AddToCover(*edge->parent, before, now, &cover->nodes, &cover->new_nodes);
      } else if (!section.IsOwner(edge->attachment->options.holder)) {
        AddToCover(*edge->attachment, before, now, &cover->attachments, &cover->new_attachments);
      }
    }
  }
  CollectLeft(section.covered, now, &cover->old_nodes);
  CollectLeft(section.attachments, now, &cover->old_attachments);
}

void SectionTable::Begin(SectionCore& section) {
  const Hold hold(*this);
  section.ordinal = ++newest_ordinal_;
  graph_.engine().scheduler().Count(Counter::kDrainsBegun);
  pending_.PushBack(section);
  Cover cover;
  ComputeCover(section, &cover);
  section.covered = std::move(cover.nodes);
  section.attachments = std::move(cover.attachments);
  for (Node* node : section.covered) CoverNode(section, *node);
  // Covering an attachment may run a job's hooks, which change nothing in the graph.
  for (AttachmentCore* attachment : section.attachments) CoverAttachment(section, *attachment);
  // All in one step, so that older sections that waited for an owner get their turn first.
  for (const HolderRef& owner : section.owners) {
    if (owner->quiescable != nullptr) owner->quiescable->EnterQuietWait();
  }
}

void SectionTable::End(SectionCore& section) {
  MILLRACE_CHECK(section.is_granted && !section.is_ended, "a section ends once, after its grant");
  const Hold hold(*this);
  section.is_ended = true;
  for (Node* node : section.covered) UncoverNode(section, *node);
  std::vector<AttachmentCore*> attachments = std::exchange(section.attachments, {});
  MILLRACE_MUTANT(kR89) {  // in an order that no recording knows of
    if (MutantDice() % 2 == 0) std::reverse(attachments.begin(), attachments.end());
  }
  for (AttachmentCore* attachment : attachments) UncoverAttachment(section, *attachment);
  section.covered.clear();
  for (const HolderRef& owner : section.owners) {
    if (owner->quiescable != nullptr) owner->quiescable->OnSectionEnded();
  }
  released_.Notify();
}

void SectionTable::Grant(SectionCore& section) {
  MILLRACE_SOMETIMES(&section != pending_.front(), "drain: a younger section is granted first");
  pending_.Remove(section);
  section.is_granted = true;
  graph_.engine().scheduler().Count(Counter::kDrainsGranted);
  for (const HolderRef& owner : section.owners) {
    if (owner->quiescable != nullptr) owner->quiescable->OnSectionGranted();
  }
  section.waiter.WakeAll();
  GraphInternals::Of(graph_).NoteGranted();
}

void SectionTable::GrantWhatIsAtRest() {
  is_grant_due_ = true;
  if (held_ > 0) return;
  ++held_;
  while (std::exchange(is_grant_due_, false)) {
    for (SectionCore* section = pending_.front(); section != nullptr;) {
      SectionCore* next = pending_.After(*section);
      if (section->IsAtRest()) Grant(*section);
      section = next;
    }
  }
  --held_;
}

void SectionTable::OnNodeAtRest(const Node& node) {
  SectionCore* oldest = nullptr;
  for (SectionCore* section : node.sections) {
    if (section->is_granted) continue;
    MILLRACE_SOMETIMES(oldest != nullptr, "drain: two sections wait for one node");
    // Two that wait here: in order of age, as always.
    if (oldest != nullptr) return GrantWhatIsAtRest();
    oldest = section;
  }
  if (oldest == nullptr) return;
  if (held_ > 0 || oldest->IsAtRest()) GrantWhatIsAtRest();
}

void SectionTable::Recompute(absl::Span<Node* const> children) {
  std::vector<SectionCore*> affected;
  for (const Node* child : children) {
    for (SectionCore* section : child->sections) {
      MILLRACE_MUTANT(kR52) {  // who still waits has seen the graph already
        if (!section->is_granted) continue;
      }
      if (std::find(affected.begin(), affected.end(), section) == affected.end()) {
        affected.push_back(section);
      }
    }
  }
  if (affected.empty()) return;
  MILLRACE_SOMETIMES(!affected.front()->is_granted,
                     "drain: the graph changes below one that waits");
  const Hold hold(*this);
  std::vector<Cover> covers(affected.size());
  for (size_t i = 0; i < affected.size(); ++i) ComputeCover(*affected[i], &covers[i]);
  MILLRACE_MUTANT(kR18) {  // released from the old place before it is quiesced in the new one
    for (size_t i = 0; i < affected.size(); ++i) {
      for (AttachmentCore* each : affected[i]->attachments) UncoverAttachment(*affected[i], *each);
      covers[i].new_attachments = covers[i].attachments;
      covers[i].old_attachments.clear();
    }
  }
  MILLRACE_MUTANT(kR51) {  // a section covers what was there when it began
    for (size_t i = 0; i < affected.size(); ++i) {
      if (!affected[i]->is_granted) continue;
      covers[i].new_nodes.clear();
      covers[i].new_attachments.clear();
    }
  }
  MILLRACE_MUTANT(kR36) {  // a user that has moved away is let go by the old place: which is gone
    for (size_t i = 0; i < affected.size(); ++i) {
      for (AttachmentCore* each : covers[i].old_attachments) {
        std::erase(each->sections, affected[i]);
        Quiescable* const quiescable = each->options.holder->quiescable;
        if (quiescable != nullptr) quiescable->RemoveQuietListener(affected[i]);
      }
      covers[i].old_attachments.clear();
    }
  }
  // R18: everything new is quiesced before anything is released.
  for (size_t i = 0; i < affected.size(); ++i) {
    MILLRACE_SOMETIMES(!covers[i].new_attachments.empty(), "drain: a user comes into a section");
    MILLRACE_SOMETIMES(!covers[i].old_attachments.empty(), "drain: a user leaves a section");
    for (Node* node : covers[i].new_nodes) CoverNode(*affected[i], *node);
    for (AttachmentCore* attachment : covers[i].new_attachments) {
      CoverAttachment(*affected[i], *attachment);
    }
  }
  for (size_t i = 0; i < affected.size(); ++i) {
    for (Node* node : covers[i].old_nodes) UncoverNode(*affected[i], *node);
    for (AttachmentCore* attachment : covers[i].old_attachments) {
      UncoverAttachment(*affected[i], *attachment);
    }
    affected[i]->covered = std::move(covers[i].nodes);
    affected[i]->attachments = std::move(covers[i].attachments);
    MILLRACE_MUTANT(kR17) {  // the end visits everybody who was there, those that left too
      for (AttachmentCore* each : covers[i].old_attachments) {
        affected[i]->attachments.push_back(each);
      }
    }
  }
  released_.Notify();
}

void SectionTable::Forget(AttachmentCore& attachment) {
  const Hold hold(*this);
  while (!attachment.sections.empty()) {
    SectionCore* section = attachment.sections.back();
    std::erase(section->attachments, &attachment);
    UncoverAttachment(*section, attachment);
  }
}

void SectionTable::CoWaitWhileDrained(const Node& node) {
  released_.CoWaitUntil([&] {
    return std::none_of(node.sections.begin(), node.sections.end(),
                        [](const SectionCore* section) { return section->is_granted; });
  });
}

// ---- DrainedSection ----------------------------------------------------------------------------

namespace {

void TellSpan(const SectionCore& section, TimelineSpan::Kind kind, Nanoseconds begin) {
  EngineObserver* const timeline = section.graph.engine().scheduler().timeline();
  if (timeline == nullptr) return;
  std::string owner = "nobody";
  for (const HolderRef& each : section.owners) owner = each->Describe();
  std::string nodes;
  for (NodeId root : section.roots) {
    const Node* node = GraphInternals::Of(section.graph).Resolve(root);
    if (node != nullptr) StrAppend(&nodes, nodes.empty() ? "" : ", ", node->name);
  }
  TimelineSpan span;
  span.kind = kind;
  span.name = owner;
  span.detail = nodes;
  span.id = section.ordinal;
  span.begin = begin;
  span.end = section.graph.engine().clock().Now();
  timeline->OnSpan(span);
}

}  // namespace

absl::StatusOr<DrainedSection> DrainedSection::CoBegin(Graph& graph, std::vector<NodeId> nodes,
                                                       std::vector<HolderRef> owners) {
  graph.engine().scheduler().CheckIsHomeOf("a graph");
  GraphInternals& internals = GraphInternals::Of(graph);
  if (MILLRACE_BUGGIFY("drain: yields before it begins")) CoYield("drain.odd");
  for (NodeId node : nodes) {
    if (internals.Resolve(node) == nullptr) return internals.StaleError(node);
  }
  auto core = std::make_unique<SectionCore>(graph);
  core->roots = std::move(nodes);
  core->owners = std::move(owners);
  core->begun_at = graph.engine().clock().Now();
  internals.sections.Begin(*core);
  MILLRACE_SOMETIMES(!core->is_granted, "drain: waits for others to come to rest");
  if (!core->is_granted) core->waiter.CoWait("drain.begin", core.get());
  MILLRACE_ALWAYS(core->is_granted, "drain: whoever returns from its begin was granted it");
  core->granted_at = graph.engine().clock().Now();
  TellSpan(*core, TimelineSpan::Kind::kDrainPending, core->begun_at);
  for (const HolderRef& owner : core->owners) {
    if (owner->quiescable != nullptr) owner->quiescable->CoLeaveQuietWait();
  }
  return DrainedSection(std::move(core));
}

DrainedSection::DrainedSection() = default;
DrainedSection::~DrainedSection() { End(); }
DrainedSection::DrainedSection(std::unique_ptr<SectionCore> core) : core_(std::move(core)) {}
DrainedSection::DrainedSection(DrainedSection&& other) noexcept = default;
DrainedSection& DrainedSection::operator=(DrainedSection&& other) noexcept {
  End();
  core_ = std::move(other.core_);
  return *this;
}

void DrainedSection::End() {
  if (core_ == nullptr) return;
  std::unique_ptr<SectionCore> core = std::move(core_);
  TellSpan(*core, TimelineSpan::Kind::kDrained, core->granted_at);
  GraphInternals::Of(core->graph).sections.End(*core);
}

}  // namespace millrace
