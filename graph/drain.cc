#include "millrace/graph/drain.h"

#include <algorithm>
#include <utility>

#include "millrace/engine/base/check.h"
#include "millrace/engine/base/text.h"
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
  return std::none_of(owners.begin(), owners.end(), [&](const HolderRef& owner) {
    return std::find(other.owners.begin(), other.owners.end(), owner) != other.owners.end();
  });
}

bool SectionCore::IsAtRest() const {
  for (const Node* node : covered) {
    if (!node->requests.empty()) return false;
    for (const SectionCore* other : node->sections) {
      if (other->is_granted && Excludes(*other)) return false;
    }
  }
  for (const AttachmentCore* attachment : attachments) {
    const Quiescable* quiescable = attachment->options.holder->quiescable;
    if (quiescable != nullptr && !quiescable->is_quiet()) return false;
  }
  return true;
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
    const Quiescable* quiescable = attachment->options.holder->quiescable;
    if (quiescable != nullptr && !quiescable->is_quiet()) return quiescable->DescribeQuiescable();
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

void SectionCore::OnQuiet() { GraphInternals::Of(graph).sections.GrantWhatIsAtRest(graph); }

// ---- SectionTable ------------------------------------------------------------------------------

namespace {

// One section starts to count on an attachment, or stops.
void Cover(SectionCore& section, AttachmentCore& attachment) {
  attachment.sections.push_back(&section);
  if (Quiescable* quiescable = attachment.options.holder->quiescable) {
    quiescable->AddQuietListener(&section);
  }
  attachment.BeginQuiesce();
}

void Uncover(SectionCore& section, AttachmentCore& attachment) {
  std::erase(attachment.sections, &section);
  if (Quiescable* quiescable = attachment.options.holder->quiescable) {
    quiescable->RemoveQuietListener(&section);
  }
  attachment.EndQuiesce();
}

// The same for a node. A filter that holds requests back lets them go while it is covered.
void Cover(SectionCore& section, Node& node) {
  node.sections.push_back(&section);
  if (node.driver->kind() == NodeKind::kFilter) {
    static_cast<FilterDriver&>(*node.driver).BeginDrain();
  }
}

void Uncover(SectionCore& section, Node& node) {
  std::erase(node.sections, &section);
  if (node.driver->kind() == NodeKind::kFilter) {
    static_cast<FilterDriver&>(*node.driver).EndDrain();
  }
}

template <typename Element>
bool Contains(const std::vector<Element*>& elements, const Element* element) {
  return std::find(elements.begin(), elements.end(), element) != elements.end();
}

}  // namespace

void SectionTable::ComputeCover(SectionCore& section, std::vector<Node*>* covered,
                                std::vector<AttachmentCore*>* attachments) {
  const GraphInternals& internals = GraphInternals::Of(section.graph);
  for (NodeId root : section.roots) {
    Node* node = internals.Resolve(root);
    if (node != nullptr && !Contains(*covered, node)) covered->push_back(node);
  }
  for (size_t i = 0; i < covered->size(); ++i) {
    Node* node = (*covered)[i];
    for (Edge* edge = node->parents.front(); edge != nullptr; edge = node->parents.After(*edge)) {
      if (edge->attachment != nullptr) {
        if (!section.IsOwner(edge->attachment->options.holder)) {
          attachments->push_back(edge->attachment);
        }
      } else if (!Contains(*covered, edge->parent)) {
        covered->push_back(edge->parent);
      }
    }
  }
}

void SectionTable::Begin(SectionCore& section) {
  pending_.PushBack(section);
  ComputeCover(section, &section.covered, &section.attachments);
  for (Node* node : section.covered) Cover(section, *node);
  // Covering an attachment may run a job's hooks, which change nothing in the graph.
  for (AttachmentCore* attachment : section.attachments) Cover(section, *attachment);
}

void SectionTable::End(SectionCore& section) {
  MILLRACE_CHECK(section.is_granted && !section.is_ended, "a section ends once, after its grant");
  section.is_ended = true;
  for (Node* node : section.covered) Uncover(section, *node);
  const std::vector<AttachmentCore*> attachments = std::exchange(section.attachments, {});
  for (AttachmentCore* attachment : attachments) Uncover(section, *attachment);
  section.covered.clear();
  for (const HolderRef& owner : section.owners) {
    if (owner->quiescable != nullptr) owner->quiescable->OnSectionEnded();
  }
  GrantWhatIsAtRest(section.graph);
}

void SectionTable::GrantWhatIsAtRest(Graph&) {
  for (SectionCore* section = pending_.front(); section != nullptr;) {
    SectionCore* next = pending_.After(*section);
    if (section->IsAtRest()) {
      pending_.Remove(*section);
      section->is_granted = true;
      for (const HolderRef& owner : section->owners) {
        if (owner->quiescable != nullptr) owner->quiescable->OnSectionGranted();
      }
      section->waiter.WakeAll();
    }
    section = next;
  }
}

void SectionTable::Recompute(Graph& graph, absl::Span<Node* const> children) {
  std::vector<SectionCore*> affected;
  for (const Node* child : children) {
    for (SectionCore* section : child->sections) {
      if (!Contains(affected, section)) affected.push_back(section);
    }
  }
  struct Change {
    SectionCore* section;
    std::vector<Node*> covered;
    std::vector<AttachmentCore*> attachments;
  };
  std::vector<Change> changes;
  for (SectionCore* section : affected) {
    Change change{section, {}, {}};
    ComputeCover(*section, &change.covered, &change.attachments);
    changes.push_back(std::move(change));
  }
  // R18: everything new is quiesced before anything is released.
  for (Change& change : changes) {
    for (Node* node : change.covered) {
      if (!Contains(change.section->covered, node)) Cover(*change.section, *node);
    }
    for (AttachmentCore* attachment : change.attachments) {
      if (!Contains(change.section->attachments, attachment)) Cover(*change.section, *attachment);
    }
  }
  for (Change& change : changes) {
    for (Node* node : change.section->covered) {
      if (!Contains(change.covered, node)) Uncover(*change.section, *node);
    }
    for (AttachmentCore* attachment : change.section->attachments) {
      if (!Contains(change.attachments, attachment)) Uncover(*change.section, *attachment);
    }
    change.section->covered = std::move(change.covered);
    change.section->attachments = std::move(change.attachments);
  }
  GrantWhatIsAtRest(graph);
}

void SectionTable::Forget(Node& node) {
  while (!node.sections.empty()) {
    SectionCore* section = node.sections.back();
    std::erase(section->covered, &node);
    Uncover(*section, node);
  }
}

void SectionTable::Forget(AttachmentCore& attachment) {
  while (!attachment.sections.empty()) {
    SectionCore* section = attachment.sections.back();
    std::erase(section->attachments, &attachment);
    Uncover(*section, attachment);
  }
}

// ---- DrainedSection ----------------------------------------------------------------------------

absl::StatusOr<DrainedSection> DrainedSection::CoBegin(Graph& graph, std::vector<NodeId> nodes,
                                                       std::vector<HolderRef> owners) {
  GraphInternals& internals = GraphInternals::Of(graph);
  for (NodeId node : nodes) {
    if (internals.Resolve(node) == nullptr) return internals.StaleError(node);
  }
  auto core = std::make_unique<SectionCore>(graph);
  core->roots = std::move(nodes);
  core->owners = std::move(owners);
  internals.sections.Begin(*core);
  // From here on the owners count as quiet: two owners that drain each other both get their turn.
  for (const HolderRef& owner : core->owners) {
    if (owner->quiescable != nullptr) owner->quiescable->EnterQuietWait();
  }
  internals.sections.GrantWhatIsAtRest(graph);
  if (!core->is_granted) core->waiter.CoWait("drain.begin", core.get());
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
  GraphInternals::Of(core->graph).sections.End(*core);
}

}  // namespace millrace
